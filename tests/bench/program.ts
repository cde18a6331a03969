/**
 * `npm run bench`: how long the program itself takes, each figure beside something measured in the same run.
 * What needs a cluster is left out unless RETORT_CLUSTER_CONTEXT or RETORT_CLUSTER_DIR names one (tests/cluster/machine.ts).
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { ROOT } from "../../jobs/environment";
import { type S3Store, s3Store } from "../../jobs/s3";
import { Moto } from "../infra/aws/moto";
import { works } from "../infra/course";
import { KubernetesApi } from "../infra/kubernetesApi";
import { recordingOf, smallRun } from "../infra/recording";
import { REQUIRED } from "../infra/stack";
import { clusterFigures } from "./cluster";
import { earlierRuns, median, say, seconds } from "./figures";

const TIMES = 5;
const BUCKET = "bench";
const keys = { accessKeyId: "key", secretAccessKey: "secret" };

/** Seconds that a Node process takes, start to end. */
const nodeSeconds = (script: string): number =>
  seconds(() => {
    const { status, stderr } = spawnSync(process.execPath, ["-e", script], { cwd: ROOT, encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
  });

async function main(): Promise<void> {
  const [bare, engine, start]: [number[], number[], number[]] = [[], [], []];
  for (let time = 0; time < TIMES; time += 1) {
    bare.push(nodeSeconds(""));
    engine.push(nodeSeconds('require("@pulumi/pulumi")'));
    start.push(nodeSeconds('require("./infra/start.cjs")'));
  }
  say("program start", median(start), { "node -e ''": median(bare), "Pulumi's SDK alone": median(engine) }, "1.5 s");

  const moto = await Moto.start();
  const storage = { bucket: BUCKET, endpoint: moto.endpoint, ...keys };
  const store = s3Store({ region: "us-east-1", ...storage });
  await new S3Client({
    region: "us-east-1",
    endpoint: moto.endpoint,
    forcePathStyle: true,
    credentials: keys,
  }).send(new CreateBucketCommand({ Bucket: BUCKET }));
  const settings = { context: "lab", run: smallRun(), storage, images: REQUIRED["images"] };
  const few = await planned(settings, store);
  say("start and plan, without an engine", few, { "the start alone": median(start) });
  await earlierRuns(store, `s3://${BUCKET}`, "small", 1000);
  say("the same, after 1,000 runs", await planned(settings, store), { "with none": few });
  say("a stage's end to the next one's Job", await gap(settings, store), {}, "3 s with the pod's own start");
  await moto.stop();

  const { RETORT_CLUSTER_CONTEXT: context, RETORT_CLUSTER_DIR: directory } = process.env;
  if (context === undefined && directory === undefined) {
    console.log(
      "left out: pulumi preview, and a stage's end to the next one's first line: they need a cluster (RETORT_CLUSTER_CONTEXT)",
    );
    return;
  }
  const scratch = mkdtempSync(join(tmpdir(), "retort-bench-"));
  try {
    await clusterFigures(scratch);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

type Settings = Readonly<Record<string, unknown>>;

/** Seconds of a preview under mocks of Pulumi: the program's start, its look at store and cluster, its plan. */
async function planned(settings: Settings, store: S3Store): Promise<number> {
  const api = await KubernetesApi.start(works(store));
  const times: number[] = [];
  for (let time = 0; time <= TIMES; time += 1) {
    const begun = performance.now();
    const { error } = await recordingOf({ settings }, api.variables());
    if (error) throw new Error(error);
    if (time > 0) times.push((performance.now() - begun) / 1000); // the first one hashes the data
  }
  await api.stop();
  return median(times);
}

/** Seconds from a pod's last word to the Job of the next stage, for stages that do nothing. */
async function gap(settings: Settings, store: S3Store): Promise<number> {
  const api = await KubernetesApi.start(works(store));
  const { error } = await recordingOf({ settings, up: true }, api.variables());
  await api.stop();
  if (error) throw new Error(error);
  const at = (what: string) => api.happenedAt.get(what) ?? Number.NaN;
  const gaps = [at("merge was made") - at("train ended"), at("evaluate was made") - at("merge ended")];
  return median(gaps) / 1000;
}

main().then(
  () => process.exit(0),
  (error: Error) => {
    console.error(error.stack);
    process.exit(1);
  },
);
