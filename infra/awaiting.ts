/** Who waits for what: Pulumi's Kubernetes provider for nothing that this program waits for, or that no run waits for. */
import type { Output } from "@pulumi/pulumi";

/** Neither when a resource is made nor when it is removed. */
export const UNAWAITED = { "pulumi.com/skipAwait": "true" } as const;

/** Not when it is made, since it has its uid at once; but its removal is over only when its pods are gone. */
export const UNAWAITED_UP = { "pulumi.com/waitFor": "jsonpath={.metadata.uid}" } as const;

/** Resolves once the engine knows the output: what it belongs to is made then, or was found there. Never in a preview of a new one. */
export const engineKnows = (output: Output<unknown>): Promise<void> =>
  new Promise((resolve) => {
    output.apply(() => resolve());
  });
