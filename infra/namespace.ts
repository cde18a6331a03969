/** The namespace that everything of a stack lies in; its pods are held to the strictest of Kubernetes' standards. */
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import type * as pulumi from "@pulumi/pulumi";

const STANDARD = "restricted";

export function namespace(name: string, opts: pulumi.CustomResourceOptions): Namespace {
  const labels = Object.fromEntries(
    ["enforce", "warn", "audit"].map((mode) => [`pod-security.kubernetes.io/${mode}`, STANDARD]),
  );
  return new Namespace("namespace", { metadata: { name, labels } }, opts);
}
