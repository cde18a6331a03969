/** What Pulumi's Kubernetes provider waits for: nothing that this program waits for itself, or that no run waits for. */

/** Neither when a resource is made nor when it is removed. */
export const UNAWAITED = { "pulumi.com/skipAwait": "true" } as const;

/** Not when it is made, since it has its uid at once; but its removal is over only when its pods are gone. */
export const UNAWAITED_UP = { "pulumi.com/waitFor": "jsonpath={.metadata.uid}" } as const;
