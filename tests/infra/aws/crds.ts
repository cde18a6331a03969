/** The kinds of the GPU pool's manifests as Kubernetes would check them: Karpenter's own CRDs, and NodeClass in our words. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";

/** Published as a Go module, from which it is read: nothing of it is kept here. */
const KARPENTER = "sigs.k8s.io/karpenter@v1.8.0";

/** The text of Karpenter's CRD of a kind, such as nodepools; or why it cannot be had here. */
export function karpenterCrd(plural: string): { readonly text: string } | { readonly missing: string } {
  const env = { ...process.env, GOFLAGS: "-mod=mod" };
  const { stdout, error } = spawnSync("go", ["mod", "download", "-json", KARPENTER], {
    cwd: tmpdir(),
    env,
    encoding: "utf8",
  });
  if (error) return { missing: `Go is not here (${error.message}), which brings ${KARPENTER}` };
  const { Dir, Error: problem } = JSON.parse(stdout || "{}") as { Dir?: string; Error?: string };
  if (!Dir) return { missing: `${KARPENTER} cannot be had: ${problem}` };
  return { text: readFileSync(join(Dir, `pkg/apis/crds/karpenter.sh_${plural}.yaml`), "utf8") };
}

export const nodeClassCrd = (): string => readFileSync(join(__dirname, "nodeClass.crd.yaml"), "utf8");

type JsonSchema = Parameters<typeof z.fromJSONSchema>[0];
interface Crd {
  readonly spec: { readonly versions: readonly { name: string; schema: { openAPIV3Schema: object } }[] };
}

/** Checks a manifest as the API server does for `v1`, but for rules in CEL; a key that it would drop is refused. */
export function checkerOf(crd: string): (manifest: unknown) => string[] {
  const { spec } = parse(crd) as Crd;
  const version = spec.versions.find(({ name }) => name === "v1");
  if (!version) throw new Error("the CRD has no v1");
  const schema = z.fromJSONSchema(strict(version.schema.openAPIV3Schema) as JsonSchema);
  return (manifest) => {
    const { metadata: _, ...rest } = manifest as { metadata: unknown }; // Kubernetes' own, which no CRD describes
    const { error } = schema.safeParse(rest);
    return (error?.issues ?? []).map(({ path, message }) => `${path.join(".")}: ${message}`);
  };
}

/** Every object that names its properties takes no other. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== "object" || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]));
  const isOpen = "x-kubernetes-preserve-unknown-fields" in schema || "additionalProperties" in schema;
  return "properties" in schema && !isOpen ? { ...inner, additionalProperties: false } : inner;
}
