/** What everything of a stack is called in AWS, and by which tag it is found again. Pure. */

/** The tag of all that a stack's program makes; its value is the stack. */
export const STACK_TAG = "retort:stack";

export const clusterNameOf = (stack: string): string => `retort-${stack}`;

export interface BucketNames {
  readonly data: string;
  readonly results: string;
}

/** Names that do not depend on what AWS answers, so that a preview knows where everything lies. */
export const bucketNames = (stack: string, account: string): BucketNames => ({
  data: `retort-${stack}-${account}-data`,
  results: `retort-${stack}-${account}-results`,
});

/** The buckets of a stack: its own, but for those that its settings name. */
export const bucketsOf = (
  stack: string,
  account: string,
  { data, results }: { readonly data?: string | undefined; readonly results?: string | undefined },
): BucketNames => ({ ...bucketNames(stack, account), ...(data && { data }), ...(results && { results }) });

/** In ARNs: aws, or what China and the government's regions have instead. */
export function partitionOf(region: string): string {
  if (region.startsWith("cn-")) return "aws-cn";
  return region.startsWith("us-gov-") ? "aws-us-gov" : "aws";
}
