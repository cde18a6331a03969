/** `npm run status`, `logs` and `cancel` on AWS: the real programs, against moto, a Kubernetes API and an `aws` command. */
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RunInstancesCommand, TerminateInstancesCommand } from "@aws-sdk/client-ec2";
import { CreateRepositoryCommand, ECRClient, PutImageCommand } from "@aws-sdk/client-ecr";
import { CreateBucketCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { AwsSettings } from "../../../infra/aws/settings";
import { type AwsClients, awsClients } from "../../../jobs/aws/clients";
import { IMAGE_NAMES, imageTags } from "../../../jobs/aws/images";
import { awsPlace } from "../../../jobs/aws/place";
import { LABELS } from "../../../jobs/job";
import { cancel } from "../../../jobs/kubernetes/cancel";
import { plansOf } from "../../../jobs/kubernetes/place";
import { Moto } from "../../infra/aws/moto";
import { smallRun } from "../../infra/recording";
import { ROOT } from "../../infra/stack";
import { EksCluster } from "./eks";

let moto: Moto;
let eks: EksCluster;
let clients: AwsClients;
let project: string;

beforeAll(async () => {
  [moto, eks] = await Promise.all([Moto.start(), EksCluster.start("retort-dev")]);
  moto.use();
  moto.gate = eks.gate;
  clients = awsClients("us-east-1");
  project = projectWith({ "retort:target": "aws", "retort:cluster": { accessCidrs: [] }, "retort:run": smallRun() });
}, 120_000);
afterAll(() => Promise.all([moto?.stop(), eks?.stop()]));
afterEach(() => {
  for (const list of [eks.jobs, eks.pods, eks.nodes, eks.nodeclaims, eks.events, eks.changes]) list.length = 0;
  eks.onEnd = () => {};
});

/** This project with a stack of its own: the commands find their stack's file beside their sources. */
function projectWith(config: object): string {
  const directory = mkdtempSync(join(tmpdir(), "retort-project-"));
  for (const part of ["configs", "images", "infra", "jobs"]) {
    cpSync(join(ROOT, part), join(directory, part), {
      recursive: true,
      filter: (path) => !path.includes("__pycache__"),
    });
  }
  for (const file of ["node_modules", "package.json", "tsconfig.json"]) {
    symlinkSync(join(ROOT, file), join(directory, file));
  }
  mkdirSync(join(directory, ".cache"));
  writeFileSync(join(directory, "Pulumi.dev.yaml"), JSON.stringify({ config }));
  return directory;
}

async function command(...args: string[]): Promise<{ code: number | null; said: string }> {
  const program = ["--import", "tsx", join(project, "jobs/kubernetes/commands.ts"), ...args, "--stack", "dev"];
  const child = spawn(process.execPath, program, { cwd: project });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += text));
  const code = await new Promise<number | null>((done) => child.once("close", done));
  return { code, said };
}

function runningStage(stage: string): { job: V1Job; pod: V1Pod } {
  const name = `small-${stage}-0123456789ab-1`;
  const labels = { [LABELS.app]: "retort", [LABELS.run]: "small", [LABELS.stage]: stage };
  return {
    job: { metadata: { name, labels }, spec: { template: {} } },
    pod: {
      metadata: { name: `${name}-x`, labels: { "batch.kubernetes.io/job-name": name } },
      status: { phase: "Running" },
    },
  };
}

async function startGpu(): Promise<string> {
  const { Instances } = await clients.ec2.send(
    new RunInstancesCommand({
      ImageId: "ami-12c6146b",
      InstanceType: "p5.48xlarge",
      MinCount: 1,
      MaxCount: 1,
      TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "eks:eks-cluster-name", Value: "retort-dev" }] }],
    }),
  );
  return Instances?.[0]?.InstanceId ?? "";
}
const endGpu = (id: string) => clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));

test("status of a stack that has not run: what would run, no cost, and no GPU", async () => {
  expect(await command("status")).toMatchObject({
    code: 0,
    said: expect.stringMatching(
      /^train {5}runs: it has not run before\nmerge {5}runs.*\nevaluate {2}runs.*\nso far {4}0\.00 hours, 0\.00 USD\nGPU now {3}none\n$/,
    ),
  });
});

test("there is no report before an evaluation is done, and report says what it waits for", async () => {
  expect(await command("report")).toEqual({
    code: 1,
    said: "error: there is no report yet: evaluate runs: it has not run before\n",
  });
});

test("status finds the run by the images that ECR has of the sources, its attempts' cost, and the GPU that is there", async () => {
  const tags = await imageTags(project);
  const ecr = new ECRClient({ region: "us-east-1" });
  for (const image of IMAGE_NAMES) {
    await ecr.send(new CreateRepositoryCommand({ repositoryName: `retort-dev/${image}` }));
    const mediaType = "application/vnd.docker.distribution.manifest.v2+json";
    const config = { digest: `sha256:${"c".repeat(64)}`, size: 1, mediaType: "x" };
    const imageManifest = JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [], image });
    await ecr.send(
      new PutImageCommand({ repositoryName: `retort-dev/${image}`, imageTag: tags[image], imageManifest }),
    );
  }
  const settings = AwsSettings.parse({ target: "aws", run: smallRun(), cluster: { accessCidrs: [] } });
  const place = await awsPlace(settings, "dev", project);
  const [train] = await plansOf(place, project);
  expect(train?.spec.image).toMatch(
    /^123456789012\.dkr\.ecr\.us-east-1\.amazonaws\.com\/retort-dev\/trainer:[0-9a-f]{16}@sha256:[0-9a-f]{64}$/,
  );
  const Bucket = "retort-dev-123456789012-results";
  await clients.s3.send(new CreateBucketCommand({ Bucket }));
  const attempt = { attempt: 1, job: "j", startedAt: "2026-11-22T10:00:00Z", endedAt: "2026-11-22T11:30:00Z" };
  const Key = `${train?.spec.output.split("/").slice(3).join("/")}/attempts/1.json`;
  await clients.s3.send(new PutObjectCommand({ Bucket, Key, Body: JSON.stringify({ ...attempt, outcome: "failed" }) }));
  const id = await startGpu();
  eks.nodes.push({ metadata: { name: "node-1", labels: { "retort.dev/pool": "gpu" } } });
  eks.nodes.push({ metadata: { name: "small-node" } });
  const { said } = await command("status");
  await endGpu(id);
  expect(said).toContain("so far    1.50 hours, 10.81 USD\n");
  expect(said).toContain(`GPU now   node node-1, instance ${id} (p5.48xlarge, running)\n`);
  expect(await command("logs", "train")).toMatchObject({ code: 1, said: expect.stringContaining("has left no log") });
});

test("cancel ends what runs, whatever the config says by now, and waits until node and instance are gone", async () => {
  const { job, pod } = runningStage("train");
  eks.jobs.push(job);
  eks.pods.push(pod);
  eks.nodeclaims.push({ metadata: { name: "retort-gpu-x7k2p", labels: { "retort.dev/pool": "gpu" } } });
  const id = await startGpu();
  eks.onEnd = () => {
    eks.pods.length = 0;
    setTimeout(() => {
      eks.nodeclaims.length = 0;
      void endGpu(id);
    }, 2000);
  };
  const { code, said } = await command("cancel");
  expect(eks.changes).toEqual(["PATCH small-train-0123456789ab-1"]);
  expect(said).toMatch(
    /asked to save and stop.*\n.*has stopped; pulumi up goes on from its last checkpoint\nwaiting until the GPU capacity is gone: NodeClaim retort-gpu-x7k2p, instance i-\w+ \(p5\.48xlarge, running\)\n(.*\n)*no GPU capacity is left/,
  );
  expect(code).toBe(0);
});

test("cancel with nothing running changes nothing, looks for the GPU, and is content", async () => {
  const done = runningStage("train").job;
  eks.jobs.push({ ...done, status: { conditions: [{ type: "Complete", status: "True" }] } });
  expect(await command("cancel")).toEqual({
    code: 0,
    said: "no stage is running\nno GPU capacity is left: no such node in the cluster, no such instance in EC2\n",
  });
  expect(eks.changes).toEqual([]);
});

test("cancel fails with a list if the GPU stays, and does not take silence for an answer", async () => {
  const said: string[] = [];
  const patience = { say: (text: string) => said.push(text), minutes: 0.002, pollSeconds: 0.02 };
  const place = {
    cluster: { jobs: async () => [] },
    gpuCapacity: async () => ["instance i-1 (p5.4xlarge, running)"],
  } as unknown as Parameters<typeof cancel>[0];
  await expect(cancel(place, patience)).rejects.toThrow(/still there .* billed: instance i-1 .*\n.*teardown:check/);
  const silent = {
    ...place,
    gpuCapacity: async () => {
      throw new Error("AccessDenied");
    },
  };
  await expect(cancel(silent, patience)).rejects.toThrow(/nobody knows what .*AccessDenied/);
});

test("a cluster that does not let this user in, or cannot be reached, is said in words", async () => {
  eks.refuse = 401;
  const refused = await command("status");
  eks.refuse = undefined;
  expect(refused).toMatchObject({
    code: 2,
    said: expect.stringMatching(/^error: the cluster does not let .*admins\n$/),
  });
});

test("a wrong command, and a stack that does not exist, are the user's to mend, without a stack trace", async () => {
  expect(await command("stop")).toMatchObject({ code: 2, said: expect.stringContaining("usage: npm run status") });
  expect(await command("logs", "trian")).toMatchObject({ code: 2, said: expect.stringContaining("usage:") });
});
