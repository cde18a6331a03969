/** What is registered with Pulumi around the stages: exactly these resources, and secrets only in Secrets. */
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, expect, test } from "vitest";
import { Access, policies } from "../../infra/access";
import { InClusterStore, policy, deployment as storeDeployment } from "../../infra/inClusterStore";
import { namespace } from "../../infra/namespace";
import { deployment, TensorBoard } from "../../infra/tensorboard";
import { REQUIRED, settings } from "./stack";

interface Registered {
  readonly type: string;
  readonly name: string;
  readonly inputs: Record<string, unknown>;
}

const registered: Registered[] = [];

beforeAll(async () => {
  await pulumi.runtime.setMocks({
    newResource({ type, name, inputs, id }) {
      registered.push({ type, name, inputs: inputs as Record<string, unknown> });
      return { id: id ?? name, state: inputs as Record<string, unknown> };
    },
    call: ({ inputs }) => inputs as Record<string, unknown>,
  });
});

/** The resources that the act registers, components left out. */
async function resourcesOf(act: () => unknown): Promise<Registered[]> {
  registered.length = 0;
  act();
  await pulumi.runtime.disconnect();
  const found = registered.filter(({ type }) => type.startsWith("kubernetes:"));
  expect(found.length).toBeGreaterThan(0);
  return found;
}

test("the namespace holds its pods to the restricted standard", async () => {
  const [only, ...others] = await resourcesOf(() => namespace("namespace", "team", {}));
  expect(others).toEqual([]);
  expect(only?.inputs["metadata"]).toEqual({
    name: "team",
    labels: {
      "app.kubernetes.io/part-of": "retort",
      "pod-security.kubernetes.io/enforce": "restricted",
      "pod-security.kubernetes.io/warn": "restricted",
      "pod-security.kubernetes.io/audit": "restricted",
    },
  });
});

test("with keys there is one Secret, and they are nowhere else", async () => {
  const found = await resourcesOf(() => new Access("access", settings(), {}));
  expect(found.map(({ type, name }) => `${type} ${name}`).sort()).toEqual([
    "kubernetes:core/v1:Secret access-store",
    "kubernetes:core/v1:ServiceAccount access-evaluate",
    "kubernetes:core/v1:ServiceAccount access-merge",
    "kubernetes:core/v1:ServiceAccount access-tensorboard",
    "kubernetes:core/v1:ServiceAccount access-train",
    "kubernetes:networking.k8s.io/v1:NetworkPolicy access-deny-ingress",
    "kubernetes:networking.k8s.io/v1:NetworkPolicy access-egress",
    "kubernetes:networking.k8s.io/v1:NetworkPolicy access-stage-workers",
  ]);
  const holding = found.filter(({ inputs }) => JSON.stringify(inputs).includes("hidden-word"));
  expect(holding.map(({ name }) => name)).toEqual(["access-store"]);
});

test("with a pod identity there is no Secret, and the service account is annotated", async () => {
  const podIdentity = { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x" };
  const found = await resourcesOf(
    () => new Access("access", settings({ storage: { bucket: "results", podIdentity } }), {}),
  );
  expect(found.map(({ type }) => type)).not.toContain("kubernetes:core/v1:Secret");
  const account = found.find(({ type }) => type === "kubernetes:core/v1:ServiceAccount");
  expect(account?.inputs).toMatchObject({
    metadata: { annotations: podIdentity },
    automountServiceAccountToken: false,
  });
});

test("pods may reach names, https and the store's own port, and be reached by other workers alone", () => {
  const { egress, "deny-ingress": denied, "stage-workers": workers } = policies("http://store:9000");
  expect(egress.egress.flatMap(({ ports = [] }) => ports.map(({ port }) => port))).toEqual([53, 53, 443, 9000, 80]);
  expect(denied).toEqual({
    podSelector: { matchLabels: { "app.kubernetes.io/part-of": "retort" } },
    policyTypes: ["Ingress"],
  });
  expect(workers.ingress).toEqual([{ from: [{ podSelector: workers.podSelector }] }]);
  expect(policies(undefined).egress.egress[1]).toEqual({ ports: [{ port: 443, protocol: "TCP" }] });
});

test("TensorBoard is a Deployment and a Service that nothing outside the cluster reaches", async () => {
  const args = {
    namespace: "team",
    settings: settings({ context: "lab" }),
    credentials: "retort-store",
    run: "s3://b/runs/r",
  };
  let command = "";
  const found = await resourcesOf(() => {
    command = new TensorBoard("tensorboard", args, {}).command;
  });
  expect(found.map(({ type }) => type).sort()).toEqual(["kubernetes:apps/v1:Deployment", "kubernetes:core/v1:Service"]);
  const service = found.find(({ type }) => type === "kubernetes:core/v1:Service");
  expect(service?.inputs["spec"]).toMatchObject({ type: "ClusterIP", ports: [{ port: 6006 }] });
  expect(command).toBe("kubectl --context lab -n team port-forward deployment/tensorboard 6006");
});

test("TensorBoard's pod is as locked up as a stage's, and asks for no GPU", () => {
  const args = { namespace: "team", settings: settings(), credentials: "retort-store", run: "s3://b/runs/r" };
  const { spec } = deployment(args).spec.template;
  expect(spec).toMatchObject({ automountServiceAccountToken: false, securityContext: { runAsNonRoot: true } });
  expect(spec.containers[0]).toMatchObject({
    image: settings().images.tensorboard,
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
  });
  expect(JSON.stringify(spec)).not.toMatch(/gpu|hidden-word/);
});

const OWN_STORE = settings({
  namespace: "team",
  context: "lab",
  storage: { inCluster: { sizeGiB: 20, storageClass: "fast" } },
  images: { ...(REQUIRED["images"] as object), store: `registry/x@sha256:${"d".repeat(64)}`, pullSecret: "registry" },
});
const OWN_ACCESS = { endpoint: "http://x", accessKeyId: "retort", secretAccessKey: "hidden-word" };

test("a store of its own: a server over one volume, in a namespace that the stack does not take with it", async () => {
  let command = "";
  const found = await resourcesOf(() => {
    command = new InClusterStore("store", { settings: OWN_STORE, access: OWN_ACCESS }, {}).command;
  });
  expect(found.map(({ type, name }) => `${type} ${name}`).sort()).toEqual([
    "kubernetes:apps/v1:Deployment store-deployment",
    "kubernetes:core/v1:Namespace store-namespace",
    "kubernetes:core/v1:PersistentVolumeClaim store-volume",
    "kubernetes:core/v1:Secret store-keys",
    "kubernetes:core/v1:Service store-service",
    "kubernetes:core/v1:ServiceAccount store-account",
    "kubernetes:networking.k8s.io/v1:NetworkPolicy store-policy",
  ]);
  for (const { name, inputs } of found.filter(({ type }) => !type.endsWith(":Namespace"))) {
    expect(inputs["metadata"], name).toMatchObject({ name: "retort-store", namespace: "team-store" });
  }
  const volume = found.find(({ name }) => name === "store-volume");
  expect(volume?.inputs["spec"]).toEqual({
    accessModes: ["ReadWriteOnce"],
    resources: { requests: { storage: "20Gi" } },
    storageClassName: "fast",
  });
  const holding = found.filter(({ inputs }) => JSON.stringify(inputs).includes("hidden-word"));
  expect(holding.map(({ name }) => name)).toEqual(["store-keys"]);
  expect(command).toBe("kubectl --context lab -n team-store port-forward deployment/retort-store 7070");
});

test("the store's pod is as locked up as any, calls nobody, and is called by the stack's pods alone", () => {
  const { spec } = storeDeployment(OWN_STORE).spec.template;
  expect(spec).toMatchObject({
    serviceAccountName: "retort-store",
    automountServiceAccountToken: false,
    securityContext: { runAsNonRoot: true },
    imagePullSecrets: [{ name: "registry" }],
  });
  expect(spec.containers[0]).toMatchObject({
    image: OWN_STORE.images.store,
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
  });
  const { policyTypes, ingress } = policy("team");
  expect(policyTypes).toEqual(["Ingress", "Egress"]);
  expect(ingress).toEqual([
    {
      from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "team" } } }],
      ports: [{ port: 7070, protocol: "TCP" }],
    },
  ]);
});
