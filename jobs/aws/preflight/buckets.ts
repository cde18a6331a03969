/** Whether the stack's buckets can be its own: names that nobody else has, in the right region. */

import { DescribeClusterCommand } from "@aws-sdk/client-eks";
import { HeadBucketCommand, type S3Client } from "@aws-sdk/client-s3";
import { clusterNameOf } from "../../../infra/aws/names";
import type { Findings, PreflightArgs } from "../preflight";

type Kind = "data" | "results";
const KINDS: readonly Kind[] = ["data", "results"];

/** What S3 says of a name: no such bucket, one that this user may see, one that he may not, or one of another region. */
type Standing = "absent" | "there" | "closed" | "elsewhere";

async function standingOf(s3: S3Client, Bucket: string): Promise<Standing> {
  try {
    await s3.send(new HeadBucketCommand({ Bucket }));
    return "there";
  } catch (error) {
    const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
    if (status === 404) return "absent";
    if (status === 403) return "closed";
    if (status === 301 || status === 400) return "elsewhere";
    throw error;
  }
}

export async function buckets({ settings, clients, names, stack }: PreflightArgs): Promise<Partial<Findings>> {
  const found = await Promise.all(
    KINDS.map(async (kind) => {
      const standing = await standingOf(clients.s3, names[kind]);
      const isGiven = settings.storage[kind] !== undefined;
      return isGiven ? ofGiven(kind, names[kind], standing, settings.region) : ofOwn(kind, names[kind], standing);
    }),
  );
  const problems = found.flatMap(({ problem }) => problem ?? []);
  const warnings = found.flatMap(({ warning }) => warning ?? []);
  // Those that this stack has made are there, too: then its cluster is.
  return warnings.length > 0 && (await hasCluster(clients.eks, clusterNameOf(stack)))
    ? { problems }
    : { problems, warnings };
}

interface Finding {
  readonly problem?: string;
  readonly warning?: string;
}

function ofGiven(kind: Kind, name: string, standing: Standing, region: string): Finding {
  const key = `retort:storage.${kind}`;
  switch (standing) {
    case "there":
      return {};
    case "absent":
      return { problem: `${key}: there is no bucket ${name}: make it, or leave ${key} out for one of the stack's own` };
    case "closed":
      return { problem: `${key}: the bucket ${name} is somebody else's, or your AWS role may not list it` };
    case "elsewhere":
      return { problem: `${key}: the bucket ${name} is not in ${region}: a run reads gigabytes, so use one there` };
  }
}

function ofOwn(kind: Kind, name: string, standing: Standing): Finding {
  const another = `pulumi config set --path retort:storage.${kind}`;
  switch (standing) {
    case "absent":
      return {};
    case "closed":
      return {
        problem: `the bucket name ${name} is taken by another account: make a bucket of another name, and ${another} NAME`,
      };
    case "elsewhere":
      return {
        problem: `the bucket ${name} is there already, in another region: rename the stack, or make a bucket and ${another} NAME`,
      };
    case "there":
      return {
        warning: `the bucket ${name} is there already, perhaps kept by pulumi destroy; to go on with what is in it: ${another} ${name}`,
      };
  }
}

async function hasCluster(eks: PreflightArgs["clients"]["eks"], name: string): Promise<boolean> {
  return eks.send(new DescribeClusterCommand({ name })).then(
    () => true,
    () => false,
  );
}
