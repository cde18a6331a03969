/** The whole program on any cluster, under mocks: exact resources, the order of stages, and rules that hold for all of them. */
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import type { V1Container, V1JobSpec, V1PodSpec, V1PodTemplateSpec } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type S3Store, s3Store } from "../../jobs/s3";
import type { StageDocument } from "../../jobs/stages";
import { Moto } from "./aws/moto";
import { works } from "./course";
import { type Course, KubernetesApi } from "./kubernetesApi";
import type { Recorded, Recording } from "./record";
import { only, recordingOf, type Said, smallRun } from "./recording";
import { REQUIRED } from "./stack";

const BUCKET = "team-results";
/** In no resource but one Secret, and there only as a Pulumi secret. */
const SECRET = "hidden-word";
/** What Pulumi wraps a secret in on its way to the engine. */
const SEALED = "1b47061264138c4ac30d75fd1eb44270";
const PODS_USER = 10001;

let moto: Moto;
let store: S3Store;
const apis: KubernetesApi[] = [];
const everything: Said[] = [];

beforeAll(async () => {
  moto = await Moto.start();
  const access = { endpoint: moto.endpoint, region: "us-east-1", accessKeyId: "key", secretAccessKey: SECRET };
  const client = new S3Client({
    ...access,
    forcePathStyle: true,
    credentials: { accessKeyId: "key", secretAccessKey: SECRET },
  });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  store = s3Store(access);
}, 120_000);

afterAll(async () => {
  await Promise.all(apis.map((api) => api.stop()));
  await moto?.stop();
});

async function cluster(course: Course = works(store)): Promise<KubernetesApi> {
  const api = await KubernetesApi.start(course);
  apis.push(api);
  return api;
}

const storage = (more: object = {}) => ({ bucket: BUCKET, endpoint: moto.endpoint, ...more });
const keys = { accessKeyId: "key", secretAccessKey: SECRET };

let runs = 0;
/** A run that nothing is known of yet. */
const newRun = (): string => {
  runs += 1;
  return smallRun(`train: { seed: ${runs} }\n`);
};

/** Runs the program against a cluster; each time with a new run, unless one is given. */
async function record(
  api: KubernetesApi,
  given: Readonly<Record<string, unknown>> = {},
  { up = false }: { up?: boolean } = {},
): Promise<Said> {
  const { images } = REQUIRED;
  const settings = { context: "lab", run: newRun(), storage: storage(keys), images, ...given };
  const said = await recordingOf({ settings, up }, api.variables());
  everything.push(said);
  return said;
}

const keysOf = ({ resources }: Recording): string[] =>
  resources.filter(({ type }) => type.startsWith("kubernetes:")).map(({ type, name }) => `${type} ${name}`);

const jobOf = (recording: Recording, stage: string): V1JobSpec =>
  only(recording, "kubernetes:batch/v1:Job", stage).inputs["spec"] as V1JobSpec;
const podOf = (recording: Recording, stage: string): V1PodSpec => jobOf(recording, stage).template.spec as V1PodSpec;
const limitsOf = (recording: Recording, stage: string) => podOf(recording, stage).containers[0]?.resources?.limits;

/** All but the Jobs of the stages, with keys for the store. */
const AROUND = [
  "kubernetes:core/v1:Namespace namespace",
  "kubernetes:core/v1:ServiceAccount access-train",
  "kubernetes:core/v1:ServiceAccount access-merge",
  "kubernetes:core/v1:ServiceAccount access-evaluate",
  "kubernetes:core/v1:ServiceAccount access-tensorboard",
  "kubernetes:core/v1:Secret access-store",
  "kubernetes:networking.k8s.io/v1:NetworkPolicy access-deny-ingress",
  "kubernetes:networking.k8s.io/v1:NetworkPolicy access-stage-workers",
  "kubernetes:networking.k8s.io/v1:NetworkPolicy access-egress",
  "kubernetes:apps/v1:Deployment tensorboard-deployment",
  "kubernetes:core/v1:Service tensorboard-service",
];
const CHAIN = ["train", "merge", "evaluate"].flatMap((stage) => [
  `kubernetes:core/v1:ConfigMap ${stage}-document`,
  `kubernetes:batch/v1:Job ${stage}`,
]);

describe("pulumi up", () => {
  test("makes exactly this, and every stage only when the one before it is done", async () => {
    const api = await cluster();
    const up = await record(api, {}, { up: true });
    expect(up.error).toBeUndefined();
    expect(keysOf(up).sort()).toEqual([...AROUND, ...CHAIN].sort());
    expect(api.happened).toEqual(
      ["train", "merge", "evaluate"].flatMap((stage) => [`${stage} was made`, `${stage} ended`]),
    );
    const document = JSON.parse(String(documentOf(up, "evaluate"))) as StageDocument;
    expect(up.outputs).toEqual({
      passRates: { base: 0.25, merged: 0.75 },
      report: `${document.output}/report.html`,
      model: expect.stringMatching(/^s3:\/\/team-results\/runs\/small\/merge-[0-9a-f]{12}\/model$/),
      tensorboard: "kubectl --context lab -n retort port-forward deployment/tensorboard 6006",
    });
  });

  test("after a failed merge evaluates nothing; its last words are the error, and the next up retries it alone", async () => {
    let broken = true;
    const api = await cluster(async (document) =>
      document.stage === "merge" && broken ? { exitCode: 2, message: "error: no such tensor" } : works(store)(document),
    );
    const run = newRun();
    const failed = await record(api, { run }, { up: true });
    expect(failed.error).toMatch(/^merge failed with exit code 2\n {4}error: no such tensor\nthis is for you to mend/);
    expect(failed.error).not.toMatch(/\n\s+at /);
    expect(keysOf(failed)).not.toContain("kubernetes:batch/v1:Job evaluate");
    expect(api.happened).toEqual(["train was made", "train ended", "merge was made", "merge ended"]);
    broken = false;
    api.happened.length = 0;
    const mended = await record(api, { run }, { up: true });
    expect(mended.error).toBeUndefined();
    expect(api.happened).toEqual(["merge was made", "merge ended", "evaluate was made", "evaluate ended"]);
    const names = [...api.jobs.keys()].map((name) => name.replace(/-[0-9a-f]{12}-/, " "));
    expect(names).toEqual(["small-train 1", "small-merge 1", "small-merge 2", "small-evaluate 1"]);
  });

  test("of a finished run registers every Job as it was, and changes nothing", async () => {
    const api = await cluster();
    const run = newRun();
    const first = await record(api, { run }, { up: true });
    api.happened.length = 0;
    // What only decides new Jobs is no reason to touch those that exist.
    const second = await record(api, { run, pod: { cpus: 2 }, budget: { maxHours: 9 } }, { up: true });
    expect(second.error).toBeUndefined();
    expect(api.happened).toEqual([]);
    const chain = ({ resources }: Recording) =>
      resources.filter(({ type, name }) => CHAIN.includes(`${type} ${name}`)).map(({ name, inputs }) => [name, inputs]);
    expect(chain(second)).toHaveLength(6);
    expect(chain(second)).toEqual(chain(first));
    expect(second.outputs).toEqual(first.outputs);
    api.jobs.clear();
    const forgotten = await record(api, { run }, { up: true });
    expect(keysOf(forgotten).filter((key) => CHAIN.includes(key))).toEqual([]);
    expect(forgotten.outputs).toEqual(first.outputs);
  });
});

describe("a preview", () => {
  test("registers what up would, and writes nothing to the cluster or the store", async () => {
    const api = await cluster();
    moto.asked.length = 0;
    const preview = await record(api, { run: newRun() });
    expect(preview.error).toBeUndefined();
    expect(keysOf(preview).sort()).toEqual([...AROUND, ...CHAIN].sort());
    expect(api.happened).toEqual([]);
    expect(moto.asked.length).toBeGreaterThan(5);
    expect(moto.asked.filter(({ action }) => !/^(GET|HEAD) /.test(action))).toEqual([]);
    expect(preview.outputs).toMatchObject({ passRates: {} });
  });
});

const documentOf = (recording: Recording, stage: string): unknown => {
  const { data } = only(recording, "kubernetes:core/v1:ConfigMap", `${stage}-document`).inputs as {
    data: Record<string, string>;
  };
  return data["stage.json"];
};

describe("the settings of a stack", () => {
  test("one GPU for train and evaluate, none for merge", async () => {
    const { resources } = await record(await cluster());
    const recording = { resources };
    for (const [stage, gpus] of [
      ["train", "1"],
      ["merge", undefined],
      ["evaluate", "1"],
    ] as const) {
      expect(limitsOf(recording, stage)?.["nvidia.com/gpu"]).toBe(gpus);
      expect(podOf(recording, stage).serviceAccountName).toBe(`retort-${stage}`);
      expect(jobOf(recording, stage).activeDeadlineSeconds).toBe((stage === "merge" ? 2 : 12) * 3600);
    }
  });

  test("no GPU: nothing asks for one, and no node is excluded", async () => {
    const recording = await record(await cluster(), { gpu: { count: 0 } });
    expect(JSON.stringify(recording.resources)).not.toContain("nvidia.com/gpu");
    expect(podOf(recording, "train").nodeSelector).toBeUndefined();
    expect(podOf(recording, "train").tolerations).toBeUndefined();
  });

  test("eight GPUs: one pod of eight workers, and no Service", async () => {
    const recording = await record(await cluster(), { gpu: { count: 8, merge: 1 } });
    expect(limitsOf(recording, "train")?.["nvidia.com/gpu"]).toBe("8");
    expect(limitsOf(recording, "merge")?.["nvidia.com/gpu"]).toBe("1");
    expect(podOf(recording, "train").containers[0]?.command?.join(" ")).toContain("--nproc-per-node 8 --standalone");
    expect(jobOf(recording, "train").completions).toBeUndefined();
    expect(keysOf(recording).sort()).toEqual([...AROUND, ...CHAIN].sort());
  });

  test("two nodes: an Indexed Job, and the Service by which its workers meet", async () => {
    const recording = await record(await cluster(), { gpu: { count: 8, nodes: 2 } });
    expect(keysOf(recording).sort()).toEqual([...AROUND, ...CHAIN, "kubernetes:core/v1:Service train-workers"].sort());
    expect(jobOf(recording, "train")).toMatchObject({ completionMode: "Indexed", completions: 2, parallelism: 2 });
    for (const stage of ["merge", "evaluate"]) expect(jobOf(recording, stage).completions).toBeUndefined();
    const { metadata } = only(recording, "kubernetes:batch/v1:Job", "train").inputs as { metadata: { name: string } };
    const service = only(recording, "kubernetes:core/v1:Service", "train-workers").inputs;
    expect(service["spec"]).toMatchObject({
      clusterIP: "None",
      selector: { "batch.kubernetes.io/job-name": metadata.name },
    });
    expect(podOf(recording, "train").subdomain).toBe(metadata.name);
  });

  test("another kind of node, a queue, a registry that asks for a password, and a budget", async () => {
    const gpu = {
      resource: "amd.com/gpu",
      nodeSelector: { "cloud.example/pool": "mi300" },
      tolerations: [{ key: "team", operator: "Equal", value: "nlp", effect: "NoExecute" }],
    };
    const images = { ...(REQUIRED["images"] as object), pullSecret: "registry" };
    const more = { gpu, images, queue: "batch", pod: { cpus: 4, memoryGiB: 100, diskGiB: 300 } };
    const recording = await record(await cluster(), { ...more, budget: { maxUsd: 30, usdPerHour: 6 } });
    for (const stage of ["train", "merge", "evaluate"]) {
      const pod = podOf(recording, stage);
      expect(pod).toMatchObject({ nodeSelector: gpu.nodeSelector, tolerations: gpu.tolerations });
      expect(pod.imagePullSecrets).toEqual([{ name: "registry" }]);
      expect(pod.containers[0]?.resources?.requests).toMatchObject({
        cpu: "4",
        memory: "100Gi",
        "ephemeral-storage": "300Gi",
      });
      expect(limitsOf(recording, stage)?.["nvidia.com/gpu"]).toBeUndefined();
      const job = only(recording, "kubernetes:batch/v1:Job", stage).inputs["metadata"];
      expect(job).toMatchObject({ labels: { "kueue.x-k8s.io/queue-name": "batch" } });
      expect(jobOf(recording, stage).activeDeadlineSeconds).toBe((stage === "merge" ? 2 : 5) * 3600);
    }
    expect(limitsOf(recording, "train")?.["amd.com/gpu"]).toBe("1");
    const board = only(recording, "kubernetes:apps/v1:Deployment").inputs["spec"];
    expect(board).toMatchObject({ template: { spec: { imagePullSecrets: [{ name: "registry" }] } } });
  });

  test("an identity instead of keys: no Secret, and pods read none", async () => {
    const podIdentity = { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x" };
    const api = await cluster();
    const { images } = REQUIRED;
    const settings = { context: "lab", run: newRun(), storage: storage({ podIdentity }), images };
    // The program itself has this machine's own credentials then.
    const recording = await recordingOf({ settings }, { ...api.variables(), ...moto.variables() });
    everything.push(recording);
    expect(recording.error).toBeUndefined();
    expect(keysOf(recording).sort()).toEqual([...AROUND, ...CHAIN].filter((key) => !/:Secret /.test(key)).sort());
    expect(JSON.stringify(recording.resources)).not.toMatch(/secretRef|AWS_ACCESS_KEY_ID|AKIA/);
    const accounts = recording.resources.filter(({ type }) => type === "kubernetes:core/v1:ServiceAccount");
    expect(accounts).toHaveLength(4);
    for (const { inputs } of accounts) expect(inputs["metadata"]).toMatchObject({ annotations: podIdentity });
  });

  test("a namespace that somebody else has made is used as it is, and not the stack's to remove", async () => {
    const api = await cluster();
    api.namespaces.set("retort", { team: "nlp" });
    const recording = await record(api);
    expect(recording.error).toBeUndefined();
    expect(keysOf(recording).sort()).toEqual([...AROUND, ...CHAIN].filter((key) => !/:Namespace /.test(key)).sort());
  });

  test("a namespace that an earlier program of the stack has made stays the stack's", async () => {
    const api = await cluster();
    const first = await record(api);
    const { metadata } = only(first, "kubernetes:core/v1:Namespace").inputs as {
      metadata: { name: string; labels: Record<string, string> };
    };
    api.namespaces.set(metadata.name, metadata.labels);
    expect(keysOf(await record(api))).toContain("kubernetes:core/v1:Namespace namespace");
  });

  test.each<[string, Record<string, unknown>, string]>([
    [
      "an image by a tag",
      { images: { ...(REQUIRED["images"] as object), trainer: "registry/trainer:1.2" } },
      "retort:images.trainer: must name an image by its digest, name@sha256:<64 hex digits>",
    ],
    ["another context", { context: "prod" }, 'retort:context: no context "prod" in the kube config: it has lab'],
    ["a run that is not there", { run: "configs/none.yaml" }, "retort:run: no such file: "],
    ["a bucket that is not there", { storage: { bucket: "no-such", ...keys } }, "there is no such bucket: make it"],
  ])("%s is refused before anything is registered", async (_, given, message) => {
    const settings = "storage" in given ? { storage: { ...storage(keys), bucket: "no-such" } } : given;
    const { error, resources } = await record(await cluster(), settings);
    expect(error).toContain(message);
    expect(error).not.toMatch(/\n\s+at /);
    expect(resources.filter(({ type }) => type.startsWith("kubernetes:"))).toEqual([]);
  });

  test("a cluster that does not answer is said in words, and nothing is registered", async () => {
    const api = await KubernetesApi.start(works(store));
    const variables = api.variables();
    await api.stop();
    const settings = { context: "lab", run: newRun(), storage: storage(keys), images: REQUIRED["images"] };
    const { error, resources } = await recordingOf({ settings }, variables);
    expect(error).toMatch(/^the cluster's API cannot be reached from here \(.*ECONNREFUSED.*\)/);
    expect(error).not.toMatch(/\n\s+at /);
    expect(resources.filter(({ type }) => type.startsWith("kubernetes:"))).toEqual([]);
  });

  test("a run whose budget is used up is not started", async () => {
    const api = await cluster();
    const { error } = await record(api, { budget: { maxHours: 0.01 } }, { up: true });
    expect(error).toContain("train was not started: the run's budget is used up");
    expect(api.happened).toEqual([]);
  });
});

/** Every pod that any recording asks for, with the name of what asks. */
function pods(): [string, V1PodSpec][] {
  return everything.flatMap(({ resources }) =>
    resources.flatMap(({ type, name, inputs }): [string, V1PodSpec][] => {
      const { template } = (inputs["spec"] ?? {}) as { template?: { spec: V1PodSpec } };
      return template ? [[`${type} ${name}`, template.spec]] : [];
    }),
  );
}

// Last: they look at all that the tests above have recorded.
describe("rules for every resource", () => {
  const containers = (): [string, V1Container][] =>
    pods().flatMap(([key, { containers, initContainers = [] }]) =>
      [...containers, ...initContainers].map((container): [string, V1Container] => [key, container]),
    );
  const of = (type: string): Recorded[] =>
    everything.flatMap(({ resources }) => resources.filter((one) => one.type === type));

  test("there is something to look at", () => {
    expect(everything.filter(({ error }) => !error).length).toBeGreaterThan(8);
    expect(pods().length).toBeGreaterThan(30);
  });

  test("no pod is root, writes to its image, gains rights, or shares anything with its node", () => {
    for (const [key, pod] of pods()) {
      expect(pod.securityContext, key).toEqual({
        runAsNonRoot: true,
        runAsUser: PODS_USER,
        runAsGroup: PODS_USER,
        fsGroup: PODS_USER,
        seccompProfile: { type: "RuntimeDefault" },
      });
      for (const shared of ["hostNetwork", "hostPID", "hostIPC"]) expect(pod, key).not.toHaveProperty(shared);
      for (const { name, ...source } of pod.volumes ?? []) {
        expect(["configMap", "emptyDir", "persistentVolumeClaim"], `${key} ${name}`).toEqual(
          expect.arrayContaining(Object.keys(source)),
        );
        if (source.emptyDir) expect(source.emptyDir.sizeLimit, `${key} ${name}`).toMatch(/^\d+Gi$/);
      }
    }
    for (const [key, { securityContext, ports = [] }] of containers()) {
      expect(securityContext, key).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      expect(ports.filter(({ hostPort }) => hostPort)).toEqual([]);
    }
  });

  test("no pod gets a token of the cluster, and each has a service account that gives it none", () => {
    for (const [key, { automountServiceAccountToken, serviceAccountName }] of pods()) {
      expect(automountServiceAccountToken, key).toBe(false);
      expect(serviceAccountName, key).toMatch(/^retort-(train|merge|evaluate|tensorboard)$/);
    }
    const accounts = of("kubernetes:core/v1:ServiceAccount");
    expect(accounts.every(({ inputs }) => inputs["automountServiceAccountToken"] === false)).toBe(true);
    expect(everything.flatMap(keysOf).filter((key) => /rbac|Role/.test(key))).toEqual([]);
  });

  test("every container says what it needs, and how much it may take", () => {
    for (const [key, { resources }] of containers()) {
      expect(Object.keys(resources?.requests ?? {}), key).toEqual(expect.arrayContaining(["cpu", "memory"]));
      expect(Object.keys(resources?.limits ?? {}), key).toContain("memory");
    }
  });

  test("every image is named by its digest", () => {
    for (const [key, { image }] of containers()) expect(image, key).toMatch(/^registry\/x@sha256:[0-9a-f]{64}$/);
  });

  test("every namespace is held to the restricted standard, and has the policies that deny the rest", () => {
    const namespaces = of("kubernetes:core/v1:Namespace");
    expect(namespaces.length).toBeGreaterThan(8);
    for (const { inputs } of namespaces) {
      expect(inputs["metadata"]).toMatchObject({ labels: { "pod-security.kubernetes.io/enforce": "restricted" } });
    }
    const specs = of("kubernetes:networking.k8s.io/v1:NetworkPolicy");
    // One stack was given its namespace, and has policies all the same.
    expect(specs).toHaveLength(3 * (namespaces.length + 1));
    const everyPod = specs.filter(({ inputs }) => {
      const { podSelector } = inputs["spec"] as { podSelector: { matchLabels?: Record<string, string> } };
      return podSelector.matchLabels?.["app.kubernetes.io/part-of"] === "retort";
    });
    expect(everyPod.map(({ name }) => name)).toEqual(
      [...namespaces, "given"].flatMap(() => ["access-deny-ingress", "access-egress"]),
    );
  });

  test("every pod is one that the policies select", () => {
    const labelled = everything.flatMap(({ resources }) =>
      resources.flatMap(({ type, name, inputs }) => {
        const { template } = (inputs["spec"] ?? {}) as { template?: V1PodTemplateSpec };
        return template ? [[`${type} ${name}`, template.metadata?.labels] as const] : [];
      }),
    );
    expect(labelled).toHaveLength(pods().length);
    for (const [key, labels] of labelled) expect(labels, key).toMatchObject({ "app.kubernetes.io/part-of": "retort" });
  });

  test("nothing is reached from outside the cluster", () => {
    const services = of("kubernetes:core/v1:Service");
    expect(services.length).toBeGreaterThan(8);
    for (const { inputs } of services) {
      const { type = "ClusterIP", externalIPs } = inputs["spec"] as { type?: string; externalIPs?: unknown };
      expect([type, externalIPs]).toEqual(["ClusterIP", undefined]);
    }
    expect(everything.flatMap(keysOf).filter((key) => /Ingress|Gateway|Route/.test(key))).toEqual([]);
  });

  test("the store's secret is in a Secret alone, sealed, and in nothing that the program says", () => {
    const holders = everything.flatMap(({ resources }) =>
      resources.filter(({ inputs }) => JSON.stringify(inputs).includes(SECRET)),
    );
    expect(holders.length).toBeGreaterThan(8);
    for (const { type, inputs } of holders) {
      expect(type).toBe("kubernetes:core/v1:Secret");
      expect(JSON.stringify(inputs["stringData"])).toContain(SEALED);
    }
    for (const { said, outputs, error } of everything) {
      const before = said.slice(0, said.lastIndexOf('{"resources"'));
      expect(JSON.stringify([before, outputs, error])).not.toContain(SECRET);
    }
  });

  test("all of it is made by the provider of the stack's context", () => {
    for (const { resources } of everything) {
      for (const { type, name, provider } of resources.filter(({ type }) => type.startsWith("kubernetes:"))) {
        expect(provider, `${type} ${name}`).toMatch(/pulumi:providers:kubernetes::cluster::/);
      }
    }
  });
});
