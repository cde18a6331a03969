/** A Kubernetes API for the tests, over HTTP: keeps Jobs and ConfigMaps, and runs each Job's one pod as a test says. */
import { mkdtempSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1ConfigMap, V1Job, V1Pod } from "@kubernetes/client-node";
import type { StageDocument } from "../../jobs/stages";

/** How a stage's process ends: its exit code, and its last words. */
export interface End {
  readonly exitCode: number;
  readonly message?: string;
}

/** What a stage does, given its document. */
export type Course = (document: StageDocument) => Promise<End>;

export class KubernetesApi {
  /** What happened, in order, such as "merge was made", "merge ended"; and every request that changes something. */
  readonly happened: string[] = [];
  /** When each thing last happened, in milliseconds. */
  readonly happenedAt = new Map<string, number>();
  readonly jobs = new Map<string, V1Job>();
  /** Those that are there, with their labels. */
  readonly namespaces = new Map<string, Record<string, string>>();
  private readonly pods = new Map<string, V1Pod>();
  private readonly configMaps = new Map<string, V1ConfigMap>();
  private readonly server = http.createServer((request, response) => void this.answer(request, response));

  private constructor(private readonly course: Course) {}

  static async start(course: Course): Promise<KubernetesApi> {
    const api = new KubernetesApi(course);
    await new Promise<void>((done) => api.server.listen(0, "127.0.0.1", done));
    return api;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  /** The variables with which a program finds this API, by the context `lab`. */
  variables(): Record<string, string> {
    const { port } = this.server.address() as AddressInfo;
    const file = join(mkdtempSync(join(tmpdir(), "retort-kubeconfig-")), "config");
    const config = {
      "current-context": "lab",
      clusters: [{ name: "lab", cluster: { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true } }],
      users: [{ name: "lab", user: {} }],
      contexts: [{ name: "lab", context: { cluster: "lab", user: "lab" } }],
    };
    writeFileSync(file, JSON.stringify(config));
    return { KUBECONFIG: file };
  }

  private note(what: string): void {
    this.happened.push(what);
    this.happenedAt.set(what, performance.now());
  }

  private async answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://api");
    const [, kind = "", name = ""] = /\/namespaces\/[^/]+\/([a-z]+)(?:\/([^/]+))?/.exec(pathname) ?? [];
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const send = (status: number, value: unknown) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    if (request.method === "POST") return void send(...this.make(kind, JSON.parse(Buffer.concat(chunks).toString())));
    if (request.method !== "GET") {
      this.note(`${request.method} ${pathname}`);
      return void send(405, {});
    }
    const [, namespace] = /\/namespaces\/([^/]+)$/.exec(pathname) ?? [];
    if (namespace) {
      const labels = this.namespaces.get(namespace);
      return void send(labels ? 200 : 404, labels ? { metadata: { labels } } : { kind: "Status", code: 404 });
    }
    if (pathname.endsWith("/log")) return void response.end(`${await this.logOf(name)}\n`);
    const kept: ReadonlyMap<string, V1Job | V1Pod | V1ConfigMap> =
      { jobs: this.jobs, pods: this.pods, configmaps: this.configMaps }[kind] ?? new Map();
    if (name) {
      const found = kept.get(name);
      return void send(found ? 200 : 404, found ?? { kind: "Status", code: 404 });
    }
    const wanted = searchParams.get("labelSelector")?.split(",") ?? [];
    const items = [...kept.values()].filter(({ metadata }) =>
      wanted.every(
        (pair) => metadata?.labels?.[pair.slice(0, pair.indexOf("="))] === pair.slice(pair.indexOf("=") + 1),
      ),
    );
    send(200, { items });
  }

  private make(kind: string, given: V1Job | V1ConfigMap): [number, unknown] {
    const name = given.metadata?.name ?? "";
    const kept: Map<string, V1Job | V1ConfigMap> | undefined =
      kind === "jobs" ? this.jobs : kind === "configmaps" ? this.configMaps : undefined;
    if (!kept) return [404, {}];
    if (kept.has(name)) return [409, { kind: "Status", code: 409 }];
    const made = { ...given, metadata: { ...given.metadata, uid: `uid-of-${name}` } };
    kept.set(name, made);
    if (kind === "jobs") void this.run(made as V1Job);
    return [201, made];
  }

  /** The Job controller and the kubelet, for one pod that nothing happens to. */
  private async run(job: V1Job): Promise<void> {
    const { name = "", labels = {} } = job.metadata ?? {};
    const volume = job.spec?.template.spec?.volumes?.find(({ configMap }) => configMap)?.configMap?.name ?? "";
    const document = JSON.parse(this.configMaps.get(volume)?.data?.["stage.json"] ?? "null") as StageDocument;
    this.note(`${document.stage} was made`);
    const metadata = { name: `${name}-pod`, labels: { ...labels, "batch.kubernetes.io/job-name": name } };
    this.pods.set(`${name}-pod`, { metadata, status: { phase: "Running" } });
    const { exitCode, message } = await this.course(document);
    const reason = exitCode === 0 ? "Completed" : "Error";
    const terminated = { exitCode, reason, ...(message && { message }) };
    const containerStatuses = [
      { name: "stage", image: "", imageID: "", ready: false, restartCount: 0, state: { terminated } },
    ];
    this.pods.set(`${name}-pod`, {
      metadata,
      status: { phase: exitCode === 0 ? "Succeeded" : "Failed", containerStatuses },
    });
    this.note(`${document.stage} ended`);
    const condition = { type: exitCode === 0 ? "Complete" : "Failed", status: "True" };
    this.jobs.set(name, { ...job, status: { conditions: [condition] } });
  }

  /** A pod's whole log, once it has ended. */
  private async logOf(pod: string): Promise<string> {
    while (this.pods.get(pod)?.status?.phase === "Running") await new Promise((done) => setTimeout(done, 50));
    return this.pods.get(pod)?.status?.containerStatuses?.[0]?.state?.terminated?.message ?? "";
  }
}
