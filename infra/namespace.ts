/** A namespace whose pods are held to the strictest of Kubernetes' standards. */
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import type * as pulumi from "@pulumi/pulumi";
import { MADE_HERE } from "../jobs/kubernetes/api";

const STANDARD = "restricted";

/** `resource` is its name in the program, `name` the one in the cluster. */
export function namespace(resource: string, name: string, opts: pulumi.CustomResourceOptions): Namespace {
  const standards = ["enforce", "warn", "audit"].map((mode) => [`pod-security.kubernetes.io/${mode}`, STANDARD]);
  const labels = { ...MADE_HERE, ...Object.fromEntries(standards) };
  return new Namespace(resource, { metadata: { name, labels } }, opts);
}
