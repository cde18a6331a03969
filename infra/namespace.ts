/** A namespace whose pods are held to the strictest of Kubernetes' standards. */
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import type * as pulumi from "@pulumi/pulumi";

const STANDARD = "restricted";

/** `resource` is its name in the program, `name` the one in the cluster. */
export function namespace(resource: string, name: string, opts: pulumi.CustomResourceOptions): Namespace {
  const labels = Object.fromEntries(
    ["enforce", "warn", "audit"].map((mode) => [`pod-security.kubernetes.io/${mode}`, STANDARD]),
  );
  return new Namespace(resource, { metadata: { name, labels } }, opts);
}
