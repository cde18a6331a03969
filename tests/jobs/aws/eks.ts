/** An EKS cluster for the tests: a Kubernetes API over TLS that lists what a test puts there, and a gate for moto that tells where. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CoreV1Event, V1Job, V1Node, V1Pod } from "@kubernetes/client-node";
import { EKS_TOKEN, type Gate, json } from "../../infra/aws/moto";
import { ROOT } from "../../infra/stack";

interface Thing {
  readonly metadata?: { readonly name?: string; readonly labels?: Record<string, string> };
}

export class EksCluster {
  readonly jobs: V1Job[] = [];
  readonly pods: V1Pod[] = [];
  readonly nodes: V1Node[] = [];
  readonly nodeclaims: Thing[] = [];
  readonly events: CoreV1Event[] = [];
  /** Every change that was asked for, such as "PATCH small-train-1". */
  readonly changes: string[] = [];
  /** What happens to a Job that is ended. */
  onEnd: (job: string) => void = () => {};
  /** Answers with this status instead, such as 403. */
  refuse: number | undefined;

  private constructor(
    private readonly server: https.Server,
    private readonly name: string,
    private readonly authority: string,
  ) {}

  static async start(name: string): Promise<EksCluster> {
    const directory = mkdtempSync(join(tmpdir(), "retort-eks-"));
    const made = spawnSync(join(ROOT, ".venv/bin/python"), ["-c", CERTIFICATE, directory], { encoding: "utf8" });
    if (made.status !== 0) throw new Error(made.stderr);
    const [key, cert] = ["key.pem", "cert.pem"].map((file) => readFileSync(join(directory, file)));
    const server = https.createServer({ key, cert });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const cluster = new EksCluster(server, name, (cert ?? Buffer.of()).toString("base64"));
    server.on("request", (request, response) => {
      const [status, body] = cluster.answer(request.method ?? "", request.url ?? "", request.headers.authorization);
      request.resume().once("end", () => {
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      });
    });
    return cluster;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  /** AWS's answer to where the cluster is. */
  readonly gate: Gate = ({ service, action }) => {
    if (service !== "eks" || action !== `GET /clusters/${this.name}`) return undefined;
    const endpoint = `https://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    const certificateAuthority = { data: this.authority };
    return json({ cluster: { name: this.name, status: "ACTIVE", endpoint, certificateAuthority } });
  };

  private answer(method: string, url: string, authorization: string | undefined): [number, unknown] {
    if (this.refuse) return [this.refuse, { kind: "Status", code: this.refuse, message: "refused" }];
    if (authorization !== `Bearer ${EKS_TOKEN}`) return [401, { kind: "Status", code: 401 }];
    const { pathname, searchParams } = new URL(url, "https://api");
    const [kind = "", name = ""] = pathname.replace(/^\/api(s\/[^/]+)?\/v1\/(namespaces\/[^/]+\/)?/, "").split("/");
    const kept = { jobs: this.jobs, pods: this.pods, nodes: this.nodes, nodeclaims: this.nodeclaims }[kind];
    if (kind === "events") return [200, { items: this.eventsFor(searchParams.get("fieldSelector") ?? "") }];
    if (!kept) return [404, { kind: "Status", code: 404 }];
    if (method === "GET" && !name) return [200, { items: selected(kept, searchParams.get("labelSelector") ?? "") }];
    const found = (kept as Thing[]).find(({ metadata }) => metadata?.name === name);
    if (!found) return [404, { kind: "Status", code: 404 }];
    if (method === "PATCH") {
      this.changes.push(`PATCH ${name}`);
      this.onEnd(name);
    }
    return [200, found];
  }

  private eventsFor(fields: string): CoreV1Event[] {
    const about = /involvedObject\.(kind|name)=([^,]+)/.exec(fields);
    return this.events.filter(
      ({ involvedObject }) => about && involvedObject[about[1] === "kind" ? "kind" : "name"] === about[2],
    );
  }
}

const selected = (things: readonly Thing[], selector: string): Thing[] =>
  things.filter(({ metadata }) =>
    selector
      .split(",")
      .filter(Boolean)
      .every((pair) => `${metadata?.labels?.[pair.split("=")[0] ?? ""]}` === pair.slice(pair.indexOf("=") + 1)),
  );

const CERTIFICATE = `
import datetime, ipaddress, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
cert = builder.not_valid_before(now - day).not_valid_after(now + day).add_extension(addresses, False).sign(key, hashes.SHA256())
directory = pathlib.Path(sys.argv[1])
pem = serialization.Encoding.PEM
text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
(directory / "key.pem").write_bytes(text)
(directory / "cert.pem").write_bytes(cert.public_bytes(pem))
`;
