/** What this project asks AWS itself, against moto's server: preflight, teardown check, GPU machines; with all that fails. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import {
  CreateVolumeCommand,
  CreateVpcCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { AwsSettings } from "../../../infra/aws/settings";
import { type AwsClients, accountOf, awsClients } from "../../../jobs/aws/clients";
import { hasGpu, machinesOf, untilGone } from "../../../jobs/aws/gpuNodes";
import { preflight } from "../../../jobs/aws/preflight";
import { gpuLeftovers, leftovers } from "../../../jobs/aws/teardown";
import { type Gate, json, Moto, refusal } from "../../infra/aws/moto";
import { offerings, willingAccount } from "../../infra/aws/recording";

const ROOT = join(__dirname, "../../..");
let moto: Moto;
let clients: AwsClients;

beforeAll(async () => {
  moto = await Moto.start();
  moto.use();
  clients = awsClients("us-east-1");
}, 120_000);
afterAll(() => moto?.stop());
afterEach(() => {
  moto.gate = () => undefined;
});

const settings = (more: object = {}) =>
  AwsSettings.parse({ target: "aws", run: "run.yaml", cluster: { accessCidrs: [] }, ...more });
const look = (more: object = {}, modelBytes?: number) =>
  preflight({ settings: settings(more), clients, modelBytes, now: new Date() });

/** `gate`, and for all else an account that may start P5 instances. */
const but =
  (gate: Gate): Gate =>
  (asked) =>
    gate(asked) ?? willingAccount(asked);

describe("the preflight", () => {
  test("finds nothing wrong with an account that may start the instance", async () => {
    moto.gate = willingAccount;
    expect(await look({}, 16e9)).toEqual({ problems: [], warnings: [] });
  });

  test("reports every problem at once: no quota, no such type in the zones, a model too big", async () => {
    moto.gate = but(({ service, action }) => {
      if (service === "servicequotas") return json({ Quota: { Value: 0 } });
      return action === "DescribeInstanceTypeOfferings" ? offerings("us-east-1f") : undefined;
    });
    const { problems } = await look({}, 140e9);
    expect(problems).toEqual([
      expect.stringContaining("p5.4xlarge is offered in us-east-1f, not in us-east-1a, us-east-1b, us-east-1c"),
      expect.stringMatching(
        /on-demand P instances is 0 vCPUs in us-east-1, and 16 are needed: aws service-quotas request/,
      ),
      expect.stringContaining("weights are 130 GiB, too many to train on a GPU with 80 GiB"),
      expect.stringContaining("raise retort:pod.diskGiB"),
    ]);
  });

  test("an account with a quota for one kind of capacity only may start, and is told", async () => {
    moto.gate = but(({ service, body }) =>
      service === "servicequotas" ? json({ Quota: { Value: body.includes("L-C4BD4855") ? 0 : 64 } }) : undefined,
    );
    const { problems, warnings } = await look({ gpu: { capacity: ["spot", "on-demand"] } });
    expect(problems).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining("for spot P instances is 0 vCPUs")]);
  });

  test("AWS's default counts where no quota was ever asked for", async () => {
    moto.gate = but(({ service, action }) => {
      if (service !== "servicequotas") return undefined;
      return action === "GetServiceQuota"
        ? json({ __type: "NoSuchResourceException", message: "none" }, 400)
        : json({ Quota: { Value: 0 } });
    });
    expect((await look()).problems).toEqual([expect.stringContaining("is 0 vCPUs")]);
  });

  test("a region without the type is named", async () => {
    moto.gate = but(({ action }) => (action === "DescribeInstanceTypeOfferings" ? offerings() : undefined));
    expect((await look()).problems).toEqual([expect.stringContaining("p5.4xlarge is not offered in us-east-1")]);
  });

  test("expired credentials are one problem, however many calls meet them", async () => {
    moto.gate = () => refusal(400, "RequestExpired");
    const { problems } = await look();
    expect(problems.filter((text) => text.includes("have expired"))).toHaveLength(1);
    await expect(accountOf(clients)).rejects.toThrow(/credentials have expired/);
  });

  test("a look that is not allowed is a warning: the run may be allowed more", async () => {
    moto.gate = but(({ action }) =>
      action === "DescribeInstanceTypeOfferings" ? refusal(403, "UnauthorizedOperation") : undefined,
    );
    expect(await look()).toEqual({ problems: [], warnings: ["zones: not looked at, since AWS does not allow it"] });
  });

  test("throttling is waited out", async () => {
    let refused = 0;
    moto.gate = but(({ action }) => {
      if (action !== "DescribeInstanceTypeOfferings" || refused >= 2) return undefined;
      refused += 1;
      return refusal(503, "RequestLimitExceeded");
    });
    expect((await look()).problems).toEqual([]);
    expect(refused).toBe(2);
  });

  test("a reservation that does not exist is named; it is used by id and never bought", async () => {
    moto.gate = but(({ action }) =>
      action === "DescribeCapacityReservations" ? refusal(400, "InvalidCapacityReservationId.NotFound") : undefined,
    );
    const { problems } = await look({ gpu: { capacity: [{ reserved: ["cr-0abc"] }, "on-demand"] } });
    expect(problems).toEqual(["the reservation cr-0abc is not in us-east-1, or not in this account"]);
    expect(
      moto.asked.some(({ action }) => /^(Create|Purchase)CapacityReservation|PurchaseCapacityBlock/.test(action)),
    ).toBe(false);
  });
});

describe("looking for what costs money", () => {
  const tags = (cluster: string) => [{ Key: "eks:eks-cluster-name", Value: cluster }];
  const start = async (type: "p5.48xlarge" | "m5.large", cluster: string) => {
    const { Instances } = await clients.ec2.send(
      new RunInstancesCommand({
        ImageId: "ami-12c6146b",
        InstanceType: type,
        MinCount: 1,
        MaxCount: 1,
        TagSpecifications: [{ ResourceType: "instance", Tags: tags(cluster) }],
      }),
    );
    return Instances?.[0]?.InstanceId ?? "";
  };

  test("finds this stack's machines and volumes, and nobody else's", async () => {
    expect(await leftovers(clients, "look")).toEqual([]);
    const gpu = await start("p5.48xlarge", "retort-look");
    const small = await start("m5.large", "retort-look");
    await start("p5.48xlarge", "somebody-else");
    const { VolumeId } = await clients.ec2.send(
      new CreateVolumeCommand({
        AvailabilityZone: "us-east-1a",
        Size: 80,
        TagSpecifications: [{ ResourceType: "volume", Tags: tags("retort-look") }],
      }),
    );
    await clients.ec2.send(new CreateVpcCommand({ CidrBlock: "10.9.0.0/16" })); // not billed, not ours
    expect((await leftovers(clients, "look")).sort()).toEqual(
      [
        `instance ${gpu} (p5.48xlarge, running)`,
        `instance ${small} (m5.large, running)`,
        `volume ${VolumeId} (80 GiB, available)`,
      ].sort(),
    );
    expect(await gpuLeftovers(clients, "look")).toEqual([`instance ${gpu} (p5.48xlarge, running)`]);
    await clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: [gpu, small] }));
    expect(await gpuLeftovers(clients, "look")).toEqual([]);
    const [ended] = (await machinesOf(clients.ec2, "retort-look")).filter(hasGpu);
    expect(ended?.state).toBe("terminated");
  });

  test("npm run teardown:check fails while something is there, and says what; it never takes silence for an answer", async () => {
    const check = async (...args: string[]) => {
      const command = ["--import", "tsx", join(ROOT, "jobs/aws/teardown.ts"), "--region", "us-east-1", ...args];
      const child = spawn(process.execPath, command, { cwd: ROOT, env: process.env });
      let said = "";
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += text));
      const code = await new Promise<number | null>((done) => child.once("close", done));
      return { code, said };
    };
    const id = await start("p5.48xlarge", "retort-left");
    expect(await check("--stack", "left", "--gpu")).toMatchObject({
      code: 1,
      said: expect.stringContaining(`  instance ${id} (p5.48xlarge, running)`),
    });
    await clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    expect(await check("--stack", "left")).toMatchObject({
      code: 0,
      said: expect.stringContaining("nothing that is billed is left"),
    });
    moto.gate = () => refusal(400, "RequestExpired");
    expect(await check("--stack", "left")).toMatchObject({ code: 1, said: expect.stringContaining("have expired") });
  });

  test("waits until the machines are gone, and gives up with a list of those that stay", async () => {
    const said: string[] = [];
    const answers = [["node a"], ["node a"], []];
    const waiting = { minutes: 1, pollSeconds: 0.01, say: (text: string) => said.push(text) };
    expect(await untilGone({ ...waiting, look: async () => answers.shift() ?? [] })).toEqual([]);
    expect(said).toHaveLength(2);
    expect(await untilGone({ ...waiting, minutes: 0, look: async () => ["instance i-1 (running)"] })).toEqual([
      "instance i-1 (running)",
    ]);
  });
});
