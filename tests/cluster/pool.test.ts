/** The GPU pool's manifests before a real API server, which knows Karpenter's kinds: schemas, unknown keys and CEL rules. */
import { homedir } from "node:os";
import { join } from "node:path";
import {
  ApiextensionsV1Api,
  CustomObjectsApi,
  KubeConfig,
  loadYaml,
  type V1CustomResourceDefinition,
} from "@kubernetes/client-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { karpenterCrd, nodeClassCrd } from "../infra/aws/crds";
import { type Manifest, manifestsOf } from "../infra/aws/pools";
import { machine } from "./machine";

const config = new KubeConfig();
/** Those that were not there before. */
const made: string[] = [];

const crds = () => config.makeApiClient(ApiextensionsV1Api);

beforeAll(async () => {
  const { environment, context } = machine();
  config.loadFromFile(environment["KUBECONFIG"] ?? join(homedir(), ".kube/config"));
  config.setCurrentContext(context);
  for (const text of [textOf("nodepools"), textOf("nodeclaims"), nodeClassCrd()]) await install(text);
});

afterAll(async () => {
  for (const name of made) await crds().deleteCustomResourceDefinition({ name });
});

function textOf(plural: string): string {
  const crd = karpenterCrd(plural);
  if ("missing" in crd) throw new Error(crd.missing);
  return crd.text;
}

async function install(text: string): Promise<void> {
  // Of plain YAML the client would drop keys such as enum, which it has other names for.
  const body = loadYaml<V1CustomResourceDefinition>(text);
  const name = body.metadata?.name ?? "";
  const there = await crds()
    .createCustomResourceDefinition({ body })
    .then(
      () => false,
      (error: { code?: number }) => {
        if (error.code === 409) return true;
        throw error;
      },
    );
  if (!there) made.push(name);
  for (let tries = 0; tries < 60; tries += 1) {
    const { status } = await crds().readCustomResourceDefinition({ name });
    if (status?.conditions?.some(({ type, status }) => type === "Established" && status === "True")) return;
    await new Promise((done) => setTimeout(done, 500));
  }
  throw new Error(`${name} was not established`);
}

/** What the API server says to a manifest, all its checks passed, without keeping it: undefined, or why not. */
async function refusal({ apiVersion, kind, ...rest }: Manifest): Promise<string | undefined> {
  const [group = "", version = ""] = apiVersion.split("/");
  const place = { group, version, plural: { NodeClass: "nodeclasses" }[kind] ?? `${kind.toLowerCase()}s` };
  const body = { apiVersion, kind, ...rest };
  return config
    .makeApiClient(CustomObjectsApi)
    .createClusterCustomObject({ ...place, body, dryRun: "All", fieldValidation: "Strict" })
    .then(
      () => undefined,
      ({ message }: Error) => message.replaceAll("\\", ""), // with the answer in it, quoted once or twice
    );
}

const EVERYTHING = {
  instanceTypes: ["p5.4xlarge", "p5.48xlarge"],
  capacity: [{ reserved: ["cr-0123abc"] }, "spot", "on-demand"],
  zones: ["us-east-1a"],
};

test.each<[string, object]>([
  ["the default", {}],
  ["a reservation, spot and on demand, of several types, in one zone", EVERYTHING],
  ["several nodes", { instanceTypes: ["p5en.48xlarge"], nodes: 4 }],
])("%s: NodePool, NodeClaim and NodeClass are taken", async (_, gpu) => {
  const { pool, claim, class: nodeClass } = await manifestsOf(gpu);
  for (const manifest of [pool, claim, nodeClass]) expect(await refusal(manifest)).toBeUndefined();
});

test("what is wrong is refused: an unknown key, a word that is none, and what only a rule forbids", async () => {
  const { pool, class: nodeClass } = await manifestsOf({});
  const spec = pool.spec as { disruption: object; template: { spec: { requirements: object[] } } };
  const changed = (more: object): Manifest => ({ ...pool, spec: { ...pool.spec, ...more } });
  expect(await refusal(changed({ surprise: 1 }))).toMatch(/unknown field "spec\.surprise"/);
  expect(await refusal(changed({ disruption: { ...spec.disruption, consolidationPolicy: "Never" } }))).toMatch(
    /consolidationPolicy: Unsupported value/,
  );
  const requirements = [{ key: "karpenter.sh/capacity-type", operator: "In", values: [] }];
  const template = { ...spec.template, spec: { ...spec.template.spec, requirements } };
  expect(await refusal(changed({ template }))).toMatch(/requirements with operator 'In' must have a value defined/);
  expect(await refusal({ ...nodeClass, spec: { ...nodeClass.spec, instanceProfile: "both" } })).toMatch(
    /either role or instanceProfile/,
  );
});
