/** The buckets of a stack, for data and for results: closed to the public, encrypted, versioned, and kept at destroy. */
import * as kms from "@pulumi/aws/kms";
import * as s3 from "@pulumi/aws/s3";
import * as pulumi from "@pulumi/pulumi";
import type { BucketNames } from "./names";

export interface BucketsArgs {
  /** The part of AWS that the region belongs to: ARNs begin with it. */
  readonly partition: string;
  readonly names: BucketNames;
  /** Those that exist and belong to somebody else: nothing about them is changed. */
  readonly existing: { readonly data: boolean; readonly results: boolean };
}

interface BucketArgs {
  readonly partition: string;
  readonly name: string;
  readonly key: kms.Key;
  readonly rules: s3.BucketLifecycleConfigurationArgs["rules"];
}

/** Everything about a bucket is left as it is when the stack goes: its data, its locks and the key it is read with. */
const KEPT = { retainOnDelete: true };

export class Buckets extends pulumi.ComponentResource {
  /** Of the key that both buckets are encrypted with; undefined if neither is made here. */
  readonly keyArn: pulumi.Output<string> | undefined;
  /** Those that exist once this program has run this far. */
  readonly made: readonly s3.Bucket[];

  constructor(name: string, { partition, names, existing }: BucketsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("retort:infra:Buckets", name, {}, opts);
    const kinds = (["data", "results"] as const).filter((kind) => !existing[kind]);
    const key = kinds.length > 0 ? this.key(name) : undefined;
    this.keyArn = key?.arn;
    this.made = key
      ? kinds.map((kind) =>
          this.bucket(`${name}-${kind}`, { partition, name: names[kind], key, rules: lifecycle(kind) }),
        )
      : [];
    this.registerOutputs();
  }

  private key(name: string): kms.Key {
    const opts = { parent: this, ...KEPT };
    const description = "Data and results of Retort: what is in its buckets cannot be read without this key";
    return new kms.Key(name, { description, enableKeyRotation: true, deletionWindowInDays: 30 }, opts);
  }

  private bucket(part: string, { partition, name, key, rules }: BucketArgs) {
    const opts = { parent: this, ...KEPT };
    const bucket = new s3.Bucket(part, { bucket: name, forceDestroy: false }, opts);
    const of = { bucket: bucket.id };
    const closed = new s3.BucketPublicAccessBlock(
      part,
      { ...of, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true },
      opts,
    );
    new s3.BucketOwnershipControls(part, { ...of, rule: { objectOwnership: "BucketOwnerEnforced" } }, opts);
    const versioning = new s3.BucketVersioning(part, { ...of, versioningConfiguration: { status: "Enabled" } }, opts);
    new s3.BucketServerSideEncryptionConfiguration(
      part,
      {
        ...of,
        rules: [
          {
            applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: key.arn },
            bucketKeyEnabled: true,
            blockedEncryptionTypes: ["SSE-C"],
          },
        ],
      },
      opts,
    );
    new s3.BucketLifecycleConfiguration(part, { ...of, ...(rules && { rules }) }, { ...opts, dependsOn: [versioning] });
    new s3.BucketPolicy(
      part,
      { ...of, policy: JSON.stringify(onlyByTls(partition, name)) },
      { ...opts, dependsOn: [closed] },
    );
    return bucket;
  }
}

/** Refuses whatever does not come encrypted, from anybody. Pure. */
export const onlyByTls = (partition: string, bucket: string) => ({
  Version: "2012-10-17",
  Statement: [
    {
      Sid: "OnlyByTls",
      Effect: "Deny",
      Principal: "*",
      Action: "s3:*",
      Resource: [`arn:${partition}:s3:::${bucket}`, `arn:${partition}:s3:::${bucket}/*`],
      Condition: { Bool: { "aws:SecureTransport": "false" } },
    },
  ],
});

const OLD_DAYS = 30;
const UNFINISHED_DAYS = 3;

/** What goes by itself: uploads that nobody finished, and what was overwritten or deleted a month ago. */
function lifecycle(kind: "data" | "results") {
  const days = { noncurrentDays: kind === "results" ? 7 : OLD_DAYS };
  return [
    {
      id: "unfinished-uploads",
      status: "Enabled",
      filter: {},
      abortIncompleteMultipartUpload: { daysAfterInitiation: UNFINISHED_DAYS },
    },
    // A stage removes its older checkpoints itself; their bytes go a week later.
    { id: "old-versions", status: "Enabled", filter: {}, noncurrentVersionExpiration: days },
  ];
}
