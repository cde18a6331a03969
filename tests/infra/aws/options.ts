/** Stacks on AWS for the tests: one with nothing but what is required, and one for each option. */
import { CreateBucketCommand, PutBucketEncryptionCommand, S3Client } from "@aws-sdk/client-s3";
import type { Recorded, Recording } from "../record";
import type { Moto } from "./moto";
import { ACCOUNT } from "./recording";

const digest = (digit: string) => `ghcr.io/team/x@sha256:${digit.repeat(64)}`;

/** By what a stack chooses: its settings. */
export const OPTIONS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "nothing but what is required": {},
  "a private API, the team's roles, ECR's endpoints, eight GPUs of one zone, spot, tags": {
    network: { ecrEndpoints: true },
    cluster: {
      accessCidrs: [],
      admins: [`arn:aws:iam::${ACCOUNT}:role/team`],
      viewers: [`arn:aws:iam::${ACCOUNT}:role/guests`],
    },
    gpu: { instanceTypes: ["p5.48xlarge"], capacity: ["spot", "on-demand"], count: 8, zones: ["us-east-1a"] },
    tags: { team: "nlp" },
  },
  "an existing network": { network: { vpcId: "vpc-0abc", subnetIds: ["subnet-0a", "subnet-0b"] } },
  "existing buckets": { storage: { data: "team-data", results: "team-results" } },
  "images of its own": { images: { trainer: digest("a"), evaluator: digest("b"), tensorboard: digest("c") } },
  "several nodes, a reservation first": {
    gpu: {
      instanceTypes: ["p5.48xlarge", "p5en.48xlarge"],
      capacity: [{ reserved: ["cr-0abc"] }, "on-demand"],
      nodes: 2,
    },
  },
  "a region of the government's": {
    region: "us-gov-east-1",
    cluster: { accessCidrs: ["203.0.113.7/32"], admins: [`arn:aws-us-gov:iam::${ACCOUNT}:role/team`] },
  },
};

export const BARE = "nothing but what is required";

export const KEY_OF_TEAM = `arn:aws:kms:us-east-1:${ACCOUNT}:key/0a1b2c3d-0000-4000-8000-0123456789ab`;

/** What those of them find there who name what exists. */
export async function prepare(moto: Moto): Promise<void> {
  const { endpoint } = moto;
  const credentials = { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "test" };
  const s3 = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, credentials });
  for (const Bucket of ["team-data", "team-results"]) await s3.send(new CreateBucketCommand({ Bucket }));
  const applied = { SSEAlgorithm: "aws:kms" as const, KMSMasterKeyID: KEY_OF_TEAM };
  const ServerSideEncryptionConfiguration = { Rules: [{ ApplyServerSideEncryptionByDefault: applied }] };
  await s3.send(new PutBucketEncryptionCommand({ Bucket: "team-results", ServerSideEncryptionConfiguration }));
}

export const ofAws = ({ resources }: Recording): Recorded[] => resources.filter(({ type }) => type.startsWith("aws:"));
