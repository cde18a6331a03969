/** Rules that hold for every resource of a stack on AWS, whatever its options. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Recorded, Recording } from "../record";
import { ROOT } from "../stack";
import { Moto } from "./moto";
import { BARE, OPTIONS, ofAws, prepare } from "./options";
import { only, record, willingAccount } from "./recording";

let moto: Moto;
const recordings = new Map<string, Recording>();

beforeAll(async () => {
  moto = await Moto.start();
  await prepare(moto);
  moto.gate = willingAccount;
  for (const [option, settings] of Object.entries(OPTIONS)) recordings.set(option, await record(moto, settings));
}, 600_000);

afterAll(() => moto?.stop());

interface Statement {
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource?: string | string[];
  readonly Principal?: unknown;
}

/** Every policy of a stack, of roles and buckets alike: [resource, input, its statements]. */
function statements(resources: readonly Recorded[]): [string, Statement][] {
  return resources.flatMap(({ type, name, inputs }) =>
    ["policy", "assumeRolePolicy"].flatMap((input) => {
      if (typeof inputs[input] !== "string" || !String(inputs[input]).startsWith("{")) return [];
      const { Statement } = JSON.parse(String(inputs[input])) as { Statement: Statement[] };
      return Statement.map((statement): [string, Statement] => [`${type} ${name} ${input}`, statement]);
    }),
  );
}

describe.each(Object.keys(OPTIONS))("with %s", (option) => {
  const recording = (): Recording => {
    const found = recordings.get(option);
    if (!found) throw new Error(`${option} was not recorded`);
    return found;
  };

  test("the program says no error, and registers everything down to the stages", () => {
    expect(recording().error).toBeUndefined();
    expect(recording().resources.filter(({ type }) => type === "kubernetes:batch/v1:Job")).toHaveLength(3);
  });

  test("no bucket is open, and every one that is made is locked, encrypted and versioned", () => {
    const { resources } = recording();
    const parts = (kind: string) => resources.filter(({ type }) => type === `aws:s3/${kind}`);
    const made = parts("bucket:Bucket");
    expect(made).toHaveLength(option === "existing buckets" ? 0 : 2);
    for (const kind of [
      "bucketPublicAccessBlock:BucketPublicAccessBlock",
      "bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
      "bucketVersioning:BucketVersioning",
      "bucketPolicy:BucketPolicy",
    ]) {
      expect(parts(kind).map(({ inputs }) => inputs["bucket"])).toEqual(made.map(({ name }) => `${name}-id`));
    }
    for (const { inputs } of parts("bucketPublicAccessBlock:BucketPublicAccessBlock")) {
      const { bucket: _, ...flags } = inputs;
      expect(Object.values(flags)).toEqual([true, true, true, true]);
    }
  });

  test("nothing answers the world: the only ranges of all addresses are ways out", () => {
    const open = ofAws(recording()).filter(({ inputs }) => /"(0\.0\.0\.0\/0|::\/0)"/.test(JSON.stringify(inputs)));
    const routes = ["network-public", "network-private"].map((name) => `aws:ec2/route:Route ${name}`);
    const expected = option === "an existing network" ? [] : routes;
    expect(open.map(({ type, name }) => `${type} ${name}`)).toEqual(expected);
    const { vpcConfig } = only(recording(), "aws:eks/cluster:Cluster").inputs as {
      vpcConfig: { endpointPublicAccess: boolean; publicAccessCidrs?: string[] };
    };
    if (vpcConfig.endpointPublicAccess) expect(vpcConfig.publicAccessCidrs).toEqual(["203.0.113.7/32"]);
    const services = recording().resources.filter(({ type }) => type === "kubernetes:core/v1:Service");
    expect(JSON.stringify(services)).not.toMatch(/LoadBalancer|NodePort/);
    expect(ofAws(recording()).filter(({ inputs }) => inputs["mapPublicIpOnLaunch"] === true)).toEqual([]);
  });

  test("no right is for every action or every resource, and nobody but AWS's services takes a role", () => {
    const found = statements(ofAws(recording()));
    expect(found.length).toBeGreaterThan(15);
    for (const [where, { Effect, Action, Resource, Principal }] of found) {
      if (Effect === "Deny") continue; // what is forbidden may be everything
      for (const action of [Action].flat()) expect(`${where} ${action}`).not.toContain("*");
      for (const resource of [Resource ?? []].flat()) {
        expect(resource).toMatch(/^arn:aws(-us-gov)?:(s3:::[a-z0-9-]+(\/[a-z].*)?|kms:[a-z0-9-]+:\d{12}:key\/\S+)$/);
      }
      if (Principal) expect(JSON.stringify(Principal)).toMatch(/^\{"Service":"[a-z0-9.]+\.amazonaws\.com"\}$/);
    }
  });

  test("everything that can have tags has the stack's: all comes from the provider that gives them", () => {
    const tags = { "retort:stack": "dev", "retort:project": "retort", ...(OPTIONS[option]?.["tags"] as object) };
    expect(only(recording(), "pulumi:providers:aws").inputs["defaultTags"]).toBe(JSON.stringify({ tags }));
    expect(ofAws(recording()).length).toBeGreaterThan(20);
    for (const { type, name, provider } of ofAws(recording())) {
      expect(`${type} ${name} ${provider}`).toMatch(/pulumi:providers:aws::aws::/);
    }
  });

  test("every image is named by its digest", () => {
    const cluster = recording().resources.filter(({ type }) => type.startsWith("kubernetes:"));
    const images = [...JSON.stringify(cluster).matchAll(/"image":"([^"]+)"/g)];
    expect(images).toHaveLength(4);
    for (const [, image] of images) expect(image).toMatch(/@sha256:[0-9a-f]{64}$/);
    const built = recording().resources.filter(({ type }) => type === "docker-build:index:Image");
    expect(built).toHaveLength(option === "images of its own" ? 0 : 3);
  });

  test("every ARN is of the region's own part of AWS", () => {
    const partition = option === "a region of the government's" ? "aws-us-gov" : "aws";
    // What the mocks answer, and what is AWS's in all regions, has no part of its own.
    const inputs = ofAws(recording()).map(({ type, name, inputs }) => ({ type, name, inputs }));
    const arns = [...JSON.stringify(inputs).matchAll(/arn:([a-z-]+):(s3|iam::aws|eks::aws)/g)];
    expect(arns.length).toBeGreaterThan(5);
    expect([...new Set(arns.map(([, part]) => part))]).toEqual([partition]);
  });

  test("no key and no secret is written anywhere", () => {
    expect(JSON.stringify(recording().resources)).not.toMatch(/AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AKIA/);
    const keys = recording().resources.filter(({ type }) => /:Secret$|iam\/(accessKey|user):/.test(type));
    expect(keys).toEqual([]);
  });

  test("AWS's own models know every input, and find each one valid", () => {
    const args = [join(ROOT, "tests/infra/aws/check_inputs.py")];
    const input = JSON.stringify(ofAws(recording()));
    const { status, stdout, stderr } = spawnSync(join(ROOT, ".venv/bin/python"), args, { input, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(Number(/checked (\d+)/.exec(stdout)?.[1])).toBe(ofAws(recording()).length);
  });
});

test("the options make a difference: no two of them register the same", () => {
  const texts = [...recordings.values()].map(({ resources }) => JSON.stringify(resources));
  expect(new Set(texts).size).toBe(Object.keys(OPTIONS).length);
  expect(recordings.has(BARE)).toBe(true);
});
