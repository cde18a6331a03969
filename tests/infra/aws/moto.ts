/** AWS for the tests: moto's server, and in front of it a gate where a test can make an API fail, or answer what moto cannot. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

const ROOT = join(__dirname, "../../..");

export interface Asked {
  /** Such as ec2 or servicequotas: from the request's signature. */
  readonly service: string;
  /** Such as DescribeInstances. */
  readonly action: string;
  readonly body: string;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly type?: string;
}

/** What the gate answers itself; undefined lets moto answer. */
export type Gate = (asked: Asked) => Answer | undefined;

export class Moto {
  gate: Gate = () => undefined;
  /** Every request since the start. */
  readonly asked: Asked[] = [];

  private constructor(
    private readonly child: ChildProcess,
    private readonly server: http.Server,
    private readonly commands: string,
    readonly endpoint: string,
  ) {}

  static async start(): Promise<Moto> {
    const port = await freePort();
    const env = { ...process.env, MOTO_ACCOUNT_ID: "123456789012" };
    const args = ["-m", "moto.server", "-H", "127.0.0.1", "-p", String(port)];
    const child = spawn(join(ROOT, ".venv/bin/python"), args, { env, stdio: "ignore" });
    process.once("exit", () => child.kill());
    const server = http.createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const moto = new Moto(child, server, awsCommand(), `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    server.on("request", (request, response) => void moto.pass(request, response, port));
    await untilUp(port);
    return moto;
  }

  async stop(): Promise<void> {
    this.child.kill();
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  /** Sets the variables with which every AWS SDK finds this server. */
  use(): void {
    Object.assign(process.env, this.variables());
  }

  variables(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL: this.endpoint,
      AWS_ACCESS_KEY_ID: "AKIAIOSFODNN7EXAMPLE",
      AWS_SECRET_ACCESS_KEY: "test",
      AWS_EC2_METADATA_DISABLED: "true",
      PATH: [this.commands, process.env["PATH"]].join(delimiter),
    };
  }

  private async pass(request: http.IncomingMessage, response: http.ServerResponse, port: number): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const asked = describe(request, body.toString());
    this.asked.push(asked);
    const own = this.gate(asked);
    if (own) {
      response.writeHead(own.status, { "content-type": own.type ?? "text/xml" }).end(own.body);
      return;
    }
    const { method, url, headers } = request;
    const onward = http.request({ port, host: "127.0.0.1", method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    onward.end(body);
  }
}

function describe(request: http.IncomingMessage, body: string): Asked {
  const service = /Credential=[^/]+\/\d+\/[^/]+\/([^/]+)\//.exec(request.headers.authorization ?? "")?.[1] ?? "";
  const target = String(request.headers["x-amz-target"] ?? "");
  const action = /(?:^|&)Action=(\w+)/.exec(body)?.[1] ?? target.slice(target.lastIndexOf(".") + 1);
  return { service, action: action || `${request.method} ${request.url?.split("?")[0]}`, body };
}

/** An error as EC2, STS and the other XML APIs say it. */
export const refusal = (status: number, code: string, message = code): Answer => ({
  status,
  body: `<Response><Errors><Error><Code>${code}</Code><Message>${message}</Message></Error></Errors><Error><Code>${code}</Code><Message>${message}</Message></Error></Response>`,
});

export const json = (value: unknown, status = 200): Answer => ({
  status,
  body: JSON.stringify(value),
  type: "application/x-amz-json-1.1",
});

/** What `aws eks get-token` gives. */
export const EKS_TOKEN = "k8s-aws-v1.test";

/** A directory with an `aws` command, which kube configs of EKS call, and which a bare machine does not have. */
function awsCommand(): string {
  const directory = mkdtempSync(join(tmpdir(), "retort-aws-"));
  const credential = { apiVersion: "client.authentication.k8s.io/v1beta1", kind: "ExecCredential" };
  const token = JSON.stringify({ ...credential, status: { token: EKS_TOKEN } });
  const script = `#!/bin/sh\ncase "$*" in --version) ;; "eks get-token"*) echo '${token}';; *) exit 252;; esac\n`;
  writeFileSync(join(directory, "aws"), script, { mode: 0o755 });
  return directory;
}

async function freePort(): Promise<number> {
  const server = http.createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

async function untilUp(port: number): Promise<void> {
  for (let tries = 0; tries < 300; tries += 1) {
    const isUp = await fetch(`http://127.0.0.1:${port}/moto-api/`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isUp) return;
    await new Promise((done) => setTimeout(done, 200));
  }
  throw new Error("moto's server did not start");
}
