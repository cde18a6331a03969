/** Who may do what in AWS: each role's policy, and the buckets' own, decided by a policy simulator over a table. */
import { runSimulation } from "@cloud-copilot/iam-simulate";
import { describe, expect, test } from "vitest";
import { podTrust, type Rights, type Role, rolePolicy } from "../../../infra/aws/access";
import { onlyByTls } from "../../../infra/aws/buckets";
import { bucketNames } from "../../../infra/aws/names";

const ACCOUNT = "123456789012";
const buckets = bucketNames("dev", ACCOUNT);
const KEY = `arn:aws:kms:us-east-1:${ACCOUNT}:key/0a1b2c3d-0000-4000-8000-0123456789ab`;
const rights: Rights = { partition: "aws", buckets, run: "phase1c", elsewhere: ["s3://models/phase1a_merged_10gb"] };

const results = (path: string) => `arn:aws:s3:::${buckets.results}/${path}`;
const TRAINED = results("runs/phase1c/train-3f9a1c2b7d0e/adapter/adapter_model.safetensors");
const MERGED = results("runs/phase1c/merge-0ca9ae4ea7a9/model/model.safetensors");
const ANSWERED = results("runs/phase1c/evaluate-86be40e72856/report.json");
const EVENTS = results("runs/phase1c/train-3f9a1c2b7d0e/tensorboard/events.out.tfevents.1");
const OTHER_RUN = results("runs/other/train-3f9a1c2b7d0e/manifest.json");
/** A stage that was given only a pattern with `*` before its name could write here. */
const DISGUISED = results("runs/phase1c/evaluate-86be40e72856/train-x/manifest.json");
const DATA = `arn:aws:s3:::${buckets.data}/data/5feceb66.jsonl`;
const MODEL = "arn:aws:s3:::models/phase1a_merged_10gb/model-00001.safetensors";
const NAMESAKE = "arn:aws:s3:::models/phase1a_merged_10gb_private/model.safetensors";
const ROLE = (role: Role) => `arn:aws:iam::${ACCOUNT}:role/${role}`;

async function decide(role: Role, action: string, resource: string, context: Record<string, string> = {}) {
  const isObject = resource.startsWith("arn:aws:s3");
  const bucket = /^arn:aws:s3:::([^/]+)/.exec(resource)?.[1] ?? "";
  const decided = await runSimulation(
    {
      request: {
        principal: ROLE(role),
        action,
        resource: { resource, accountId: ACCOUNT },
        contextVariables: { "aws:SecureTransport": "true", ...context },
      },
      identityPolicies: [{ name: role, policy: rolePolicy(role, rights, [KEY]) }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: isObject ? onlyByTls("aws", bucket) : keyPolicy,
    },
    {},
  );
  return resultOf(decided);
}

/** What the simulator refuses to read is no policy of AWS at all: then it throws. */
function resultOf(decided: Awaited<ReturnType<typeof runSimulation>>): string {
  if (decided.resultType === "error") throw new Error(JSON.stringify(decided.errors));
  return decided.overallResult;
}

/** What AWS gives a key of which nothing is said: the account's own policies decide. */
const keyPolicy = {
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` }, Action: "kms:*", Resource: "*" }],
};

describe("a stage reads what it needs, writes its own prefix, and no more", () => {
  test.each<[Role, string, string, "Allowed" | "ImplicitlyDenied"]>([
    ["train", "s3:GetObject", DATA, "Allowed"],
    ["train", "s3:GetObject", MODEL, "Allowed"],
    ["train", "s3:GetObject", NAMESAKE, "ImplicitlyDenied"],
    ["train", "s3:GetObject", TRAINED, "Allowed"],
    ["train", "s3:PutObject", TRAINED, "Allowed"],
    ["train", "s3:DeleteObject", TRAINED, "Allowed"],
    ["train", "s3:PutObject", DATA, "ImplicitlyDenied"],
    ["train", "s3:PutObject", MODEL, "ImplicitlyDenied"],
    ["train", "s3:PutObject", MERGED, "ImplicitlyDenied"],
    ["train", "s3:PutObject", ANSWERED, "ImplicitlyDenied"],
    ["train", "s3:PutObject", DISGUISED, "ImplicitlyDenied"],
    ["train", "s3:PutObject", OTHER_RUN, "ImplicitlyDenied"],
    ["train", "s3:GetObject", OTHER_RUN, "ImplicitlyDenied"],
    ["train", "s3:DeleteObjectVersion", TRAINED, "ImplicitlyDenied"],
    ["train", "s3:PutBucketPolicy", `arn:aws:s3:::${buckets.results}`, "ImplicitlyDenied"],
    ["train", "kms:GenerateDataKey", KEY, "Allowed"],
    ["train", "kms:ScheduleKeyDeletion", KEY, "ImplicitlyDenied"],
    ["merge", "s3:GetObject", TRAINED, "Allowed"],
    ["merge", "s3:GetObject", MODEL, "Allowed"],
    ["merge", "s3:GetObject", DATA, "ImplicitlyDenied"],
    ["merge", "s3:PutObject", MERGED, "Allowed"],
    ["merge", "s3:PutObject", TRAINED, "ImplicitlyDenied"],
    ["evaluate", "s3:GetObject", TRAINED, "Allowed"],
    ["evaluate", "s3:GetObject", MERGED, "Allowed"],
    ["evaluate", "s3:GetObject", DATA, "Allowed"],
    ["evaluate", "s3:PutObject", ANSWERED, "Allowed"],
    ["evaluate", "s3:PutObject", TRAINED, "ImplicitlyDenied"],
    ["evaluate", "s3:DeleteObject", TRAINED, "ImplicitlyDenied"],
    ["evaluate", "s3:PutObject", MERGED, "ImplicitlyDenied"],
    ["tensorboard", "s3:GetObject", EVENTS, "Allowed"],
    ["tensorboard", "s3:GetObject", MERGED, "ImplicitlyDenied"],
    ["tensorboard", "s3:PutObject", EVENTS, "ImplicitlyDenied"],
    ["tensorboard", "s3:DeleteObject", EVENTS, "ImplicitlyDenied"],
    ["tensorboard", "kms:Decrypt", KEY, "Allowed"],
    ["tensorboard", "kms:GenerateDataKey", KEY, "ImplicitlyDenied"],
  ])("%s %s %s: %s", async (role, action, resource, expected) => {
    expect(await decide(role, action, resource)).toBe(expected);
  });
});

test.each<[Role, string, "Allowed" | "ImplicitlyDenied"]>([
  ["train", "runs/phase1c/train-3f9a1c2b7d0e/", "Allowed"],
  ["train", "runs/phase1c/evaluate-86be40e72856/", "ImplicitlyDenied"],
  ["train", "runs/other/", "ImplicitlyDenied"],
  ["evaluate", "runs/phase1c/evaluate-", "Allowed"], // to find earlier answers of the base model
  ["evaluate", "runs/other/evaluate-", "ImplicitlyDenied"],
  ["tensorboard", "runs/phase1c/", "Allowed"],
  ["tensorboard", "", "ImplicitlyDenied"],
])("%s may list %s: %s", async (role, prefix, expected) => {
  const bucket = `arn:aws:s3:::${buckets.results}`;
  expect(await decide(role, "s3:ListBucket", bucket, { "s3:prefix": prefix })).toBe(expected);
});

test("whoever may read a bucket is told that a file is not there: S3 asks for the right to list, without a prefix", async () => {
  expect(await decide("train", "s3:ListBucket", `arn:aws:s3:::${buckets.results}`)).toBe("Allowed");
});

test("nothing that comes without TLS is answered, whoever asks", async () => {
  expect(await decide("train", "s3:GetObject", TRAINED, { "aws:SecureTransport": "false" })).toBe("ExplicitlyDenied");
});

test.each([
  ["retort", "retort-train", "Allowed"],
  ["retort", "retort-evaluate", "ImplicitlyDenied"],
  ["default", "retort-train", "ImplicitlyDenied"],
])("a pod of %s/%s that wants the role of train: %s", async (namespace, account, expected) => {
  const decided = await runSimulation(
    {
      request: {
        principal: "pods.eks.amazonaws.com",
        action: "sts:AssumeRole",
        resource: { resource: ROLE("train"), accountId: ACCOUNT },
        contextVariables: {
          "aws:RequestTag/kubernetes-namespace": namespace,
          "aws:RequestTag/kubernetes-service-account": account,
        },
      },
      identityPolicies: [],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: podTrust("retort", "retort-train"),
    },
    {},
  );
  expect(resultOf(decided)).toBe(expected);
});
