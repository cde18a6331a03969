/** The money of a run as a whole, against AWS's answers: said before, refused above the cap, settled after, never in silence. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RunInstancesCommand, TerminateInstancesCommand } from "@aws-sdk/client-ec2";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { AwsSettings } from "../../../infra/aws/settings";
import { record } from "../../../jobs/attempts";
import { type AwsClients, awsClients } from "../../../jobs/aws/clients";
import { type MoneyArgs, RunMoney } from "../../../jobs/aws/money";
import { STAGES, stageSpecs } from "../../../jobs/stages";
import { memoryStore } from "../../day/store";
import { type Gate, json, Moto, refusal } from "../../infra/aws/moto";
import { RUNS, storeWith } from "../pastRuns";
import { CONFIG, SOURCES } from "../run";

const ROOT = join(__dirname, "../../..");
const STACK = "money";
const rows = join(mkdtempSync(join(tmpdir(), "retort-money-")), "rows.jsonl");
const row = JSON.stringify({ instruction: "q".repeat(100), reference_answer: "a".repeat(200), category: "c" });
writeFileSync(rows, `${row}\n`.repeat(200));
const { selfCritique: _, ...data } = CONFIG.data;
const config = { ...CONFIG, data: { ...data, hardFailures: rows, test: rows } };
const specs = stageSpecs(config, SOURCES, RUNS);

let moto: Moto;
let clients: AwsClients;
beforeAll(async () => {
  moto = await Moto.start();
  moto.use();
  clients = awsClients("us-east-1");
}, 120_000);
afterAll(async () => {
  await moto?.stop();
  rmSync(join(rows, ".."), { recursive: true });
});
afterEach(() => {
  moto.gate = () => undefined;
});

/** Everything that was said, and everything that makes the program fail. */
function money(more: Partial<MoneyArgs> = {}, settings: object = {}) {
  const said: string[] = [];
  const complaints: string[] = [];
  const run = new RunMoney({
    settings: AwsSettings.parse({ target: "aws", run: "run.yaml", cluster: { accessCidrs: [] }, ...settings }),
    ...{ clients, root: ROOT, stack: STACK, store: memoryStore(), runs: RUNS },
    say: (text) => void said.push(text),
    complain: (text) => void complaints.push(text),
    patience: { minutes: 0, pollSeconds: 0.01 },
    ...more,
  });
  return { run, said, complaints };
}

test("a model on a hub is as big as the hub says", async () => {
  const hub = http.createServer((request, response) => {
    const siblings = [
      { rfilename: "a.safetensors", size: 3e9 },
      { rfilename: "README.md", size: 7 },
    ];
    const isThere = request.url === "/api/models/org/model/revision/abc?blobs=true";
    response.writeHead(isThere ? 200 : 404).end(JSON.stringify({ siblings }));
  });
  await new Promise<void>((done) => hub.listen(0, "127.0.0.1", done));
  vi.stubEnv("HF_ENDPOINT", `http://127.0.0.1:${(hub.address() as AddressInfo).port}`);
  try {
    const { run } = money();
    expect(await run.sizeOf("hf://org/model@abc")).toBe(3e9);
    expect(await run.sizeOf("hf://org/other@abc")).toBeUndefined();
  } finally {
    vi.unstubAllEnvs();
    await new Promise((done) => hub.close(done));
  }
});

const priceOf = (usd: string): Gate => {
  const term = { priceDimensions: { x: { pricePerUnit: { USD: usd } } } };
  const product = JSON.stringify({ terms: { OnDemand: { x: term } } });
  return ({ service }) => (service === "pricing" ? json({ PriceList: [product] }) : undefined);
};

describe("before a run", () => {
  test("its stages, prices and assumptions are said; AWS is asked for prices once", async () => {
    moto.gate = priceOf("8.00");
    moto.asked.length = 0;
    const { run, said } = money();
    await run.mayStart(config, STAGES);
    expect(said.map((line) => line.split(/\s{2,}/)[0])).toEqual([
      ...["node starts", "train", "merge", "evaluate", "node ends", "cluster, network", "in all"],
      expect.stringMatching(/^a node costs 8\.33 USD an hour \(AWS's prices of now, and Auto Mode's fee of configs/),
      "assumed of pypi://m: 8 billion parameters",
    ]);
    expect((await run.price()).high).toBeCloseTo(8.33);
    expect(moto.asked.filter(({ service }) => service === "pricing")).toHaveLength(1);
  });

  test("an earlier run on such a GPU is what it rests on; one on another GPU is not", async () => {
    moto.gate = priceOf("8.00");
    const store = await storeWith({ name: "before", day: "2026-11-20" });
    const first = money({ store });
    await first.run.mayStart(config, STAGES);
    expect(first.said.filter((line) => line.endsWith("measured: run before of 2026-11-20"))).toHaveLength(3);
    const other = money({ store }, { gpu: { instanceTypes: ["p5e.48xlarge"] } });
    await other.run.mayStart(config, STAGES);
    expect(other.said.join("\n")).not.toContain("run before");
  });

  test("with expired credentials the dated table is used, and both are said", async () => {
    moto.gate = ({ service }) =>
      service === "pricing" ? json({ __type: "ExpiredTokenException", message: "expired" }, 400) : undefined;
    const { run, said } = money();
    await run.mayStart(config, STAGES);
    expect(said).toContain("a node costs 7.21 USD an hour (configs/prices.yaml of 2026-07-20)");
    expect(said).toContainEqual(
      expect.stringMatching(/^AWS's price list could not be asked: .*expired: aws sso login/),
    );
  });

  test("a run that cannot end below the cap does not start", async () => {
    moto.gate = priceOf("8.00");
    const { run } = money({}, { budget: { maxUsd: 1 } });
    await expect(run.mayStart(config, STAGES)).rejects.toThrow(/retort:budget\.maxUsd is 1: it is not started/);
  });
});

describe("after a run", () => {
  const at = (minutesAgo: number) => new Date(Date.now() - minutesAgo * 60_000);
  /** EC2's answer about one machine that is gone, as EC2 words it: launched and ended in this program's time. */
  const ended = (launched: Date, over: Date): Gate => {
    const reason = `User initiated (${over.toISOString().slice(0, 19).replace("T", " ")} GMT)`;
    const item = `<item><instanceId>i-0gone</instanceId><instanceType>p5.4xlarge</instanceType><instanceState><code>48</code><name>terminated</name></instanceState><reason>${reason}</reason><launchTime>${launched.toISOString()}</launchTime></item>`;
    const set = `<reservationSet><item><reservationId>r-1</reservationId><instancesSet>${item}</instancesSet></item></reservationSet>`;
    const body = `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${set}</DescribeInstancesResponse>`;
    return (asked) => (asked.action === "DescribeInstances" ? { status: 200, body } : priceOf("8.00")(asked));
  };

  test("what each stage took, what was paid, and that nothing is left", async () => {
    const store = memoryStore();
    moto.gate = priceOf("8.00");
    const { run, said, complaints } = money({ store, since: at(60) });
    await run.mayStart(config, STAGES);
    said.length = 0;
    const [train] = specs;
    const done = { attempt: 1, job: "j", outcome: "done" as const, ranSeconds: 1200 };
    await record(train, { ...done, startedAt: at(50).toISOString(), endedAt: at(25).toISOString() }, store);
    moto.gate = ended(at(48), at(23));
    await run.close(specs);
    expect(complaints).toEqual([]);
    expect(said).toEqual([
      expect.stringMatching(/^train +20 min; the estimate was \d+ to \d+$/),
      "20 GPU-node minutes used, 25 paid for (1.25 for each)",
      // 25 minutes at 8.33 an hour, and an hour of 0.26.
      expect.stringMatching(/^about 3\.73 USD; the estimate was /),
      "the GPU capacity is gone: no such node is in the cluster, no such instance in EC2",
    ]);
  });

  test("a machine that stays makes the program fail, and is named; once it is gone, all is well", async () => {
    const { Instances } = await clients.ec2.send(
      new RunInstancesCommand({
        ...{ ImageId: "ami-12c6146b", InstanceType: "p5.48xlarge", MinCount: 1, MaxCount: 1 },
        TagSpecifications: [
          { ResourceType: "instance", Tags: [{ Key: "eks:eks-cluster-name", Value: `retort-${STACK}` }] },
        ],
      }),
    );
    const id = Instances?.[0]?.InstanceId ?? "";
    const first = money();
    await first.run.close(specs);
    expect(first.complaints).toEqual([
      expect.stringMatching(new RegExp(`is still there after 0 minutes, and is billed: instance ${id} `)),
    ]);
    expect(first.said.join("\n")).not.toContain("is gone");
    await clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    const second = money();
    await second.run.close(specs);
    expect(second.complaints).toEqual([]);
    expect(second.said.at(-1)).toMatch(/^the GPU capacity is gone/);
  });

  test("that could not be looked at is a complaint with what to do, and no error of its own", async () => {
    moto.gate = () => refusal(400, "RequestExpired");
    const { run, said, complaints } = money();
    await run.close(specs);
    expect(complaints).toEqual([expect.stringMatching(/npm run teardown:check -- --gpu/)]);
    expect(said.join("\n")).not.toContain("is gone");
  });
});
