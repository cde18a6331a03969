/** What each stage may do in AWS: a role of its own, by EKS Pod Identity. There is no key, and no right that it does not use. */
import * as eks from "@pulumi/aws/eks";
import * as iam from "@pulumi/aws/iam";
import * as pulumi from "@pulumi/pulumi";
import { serviceAccount } from "../../jobs/job";
import { STAGES, type StageName } from "../../jobs/stages";
import type { BucketNames } from "./names";

export interface AccessArgs {
  readonly clusterName: pulumi.Input<string>;
  readonly namespace: string;
  readonly rights: Rights;
  /** The keys that the buckets are encrypted with. */
  readonly keyArns: readonly pulumi.Input<string>[];
}

export interface Rights {
  /** The part of AWS that the region belongs to, such as aws or aws-us-gov: ARNs begin with it. */
  readonly partition: string;
  readonly buckets: BucketNames;
  /** The run's name: a stage reads and writes nothing of another run. */
  readonly run: string;
  /** Base model and data that lie elsewhere in S3, as s3:// URIs. */
  readonly elsewhere: readonly string[];
}

export type Role = StageName | "tensorboard";
export const ROLES: readonly Role[] = [...STAGES, "tensorboard"];

export class Access extends pulumi.ComponentResource {
  constructor(name: string, args: AccessArgs, opts?: pulumi.ComponentResourceOptions) {
    super("retort:infra:AwsAccess", name, {}, opts);
    const { clusterName, namespace, rights, keyArns } = args;
    const inside = { parent: this };
    for (const part of ROLES) {
      const role = new iam.Role(
        `${name}-${part}`,
        { assumeRolePolicy: JSON.stringify(podTrust(namespace, serviceAccount(part))) },
        inside,
      );
      const policy = pulumi.all([...keyArns]).apply((keys) => JSON.stringify(rolePolicy(part, rights, keys)));
      new iam.RolePolicy(`${name}-${part}`, { role: role.name, policy }, inside);
      new eks.PodIdentityAssociation(
        `${name}-${part}`,
        { clusterName, namespace, serviceAccount: serviceAccount(part), roleArn: role.arn },
        inside,
      );
    }
    this.registerOutputs();
  }
}

/** Only pods of this one service account get the role. Pure. */
export const podTrust = (namespace: string, account: string) => ({
  Version: "2012-10-17",
  Statement: [
    {
      Effect: "Allow",
      Principal: { Service: "pods.eks.amazonaws.com" },
      Action: ["sts:AssumeRole", "sts:TagSession"],
      Condition: {
        StringEquals: {
          "aws:RequestTag/kubernetes-namespace": namespace,
          "aws:RequestTag/kubernetes-service-account": account,
        },
      },
    },
  ],
});

/** Where in a bucket something lies; the path has no slash at its end. */
interface Place {
  readonly bucket: string;
  readonly path: string;
}

/**
 * What a role may do, and nothing else. Pure. A stage's prefix is runs/<run>/<stage>-…: no `*` comes before the stage's
 * name, or it would match other stages' files, since in IAM `*` matches slashes, too.
 */
export function rolePolicy(role: Role, rights: Rights, keyArns: readonly string[]) {
  const { partition, buckets, run, elsewhere } = rights;
  const objects = ({ bucket, path }: Place): string => `arn:${partition}:s3:::${bucket}/${path}`;
  const own = (stage: StageName): Place => ({ bucket: buckets.results, path: `runs/${run}/${stage}-*` });
  const data = { bucket: buckets.data, path: "data/*" };
  const others = elsewhere.flatMap(places);
  const reads: Record<Role, readonly Place[]> = {
    train: [data, ...others, own("train")],
    merge: [...others, own("train"), own("merge")],
    evaluate: [data, ...others, own("train"), own("merge"), own("evaluate")],
    tensorboard: [{ bucket: buckets.results, path: `runs/${run}/*/tensorboard/*` }],
  };
  const writes = role === "tensorboard" ? [] : [own(role)];
  const read = reads[role];
  return {
    Version: "2012-10-17",
    Statement: [
      { Sid: "Read", Effect: "Allow", Action: ["s3:GetObject"], Resource: read.map(objects) },
      ...listings(partition, role === "tensorboard" ? [{ bucket: buckets.results, path: `runs/${run}/*` }] : read),
      ...(writes.length > 0
        ? [
            {
              Sid: "Write",
              Effect: "Allow",
              Action: ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
              Resource: writes.map(objects),
            },
          ]
        : []),
      ...(keyArns.length === 0
        ? []
        : [
            {
              Sid: "Key",
              Effect: "Allow",
              Action: role === "tensorboard" ? ["kms:Decrypt"] : ["kms:Decrypt", "kms:GenerateDataKey"],
              Resource: keyArns,
            },
          ]),
    ],
  };
}

/**
 * Listing is asked of the bucket, not of what lies in it: the prefix is a condition. Only if there is one: S3 asks for
 * this right, without a prefix, before it says that a file is not there; without it, it says that access is denied.
 */
function listings(partition: string, places: readonly Place[]) {
  const names = [...new Set(places.map(({ bucket }) => bucket))];
  return names.map((bucket, index) => ({
    Sid: `List${index}`,
    Effect: "Allow",
    Action: ["s3:ListBucket"],
    Resource: [`arn:${partition}:s3:::${bucket}`],
    Condition: {
      StringLikeIfExists: { "s3:prefix": places.filter((there) => there.bucket === bucket).map(({ path }) => path) },
    },
  }));
}

/** A file, or all that lies below it; nothing whose name only begins the same. */
function places(uri: string): Place[] {
  const [, bucket = "", path = ""] = /^s3:\/\/([^/]+)\/(.*?)\/*$/.exec(uri) ?? [];
  return [path, `${path}/*`].map((pattern) => ({ bucket, path: pattern }));
}
