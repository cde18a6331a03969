/** TensorBoard beside a local run: started for the training curves, gone with the launcher. */
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import type { Environment } from "../environment";
import { type Child, startChild } from "./child";

export const TENSORBOARD_PORT = 6006;
const PORTS_TRIED = 20;

export interface TensorBoard {
  readonly url: string;
  readonly child: Child;
}

/** Serves what lies below `logs`, on port 6006 or the next free one; undefined if twenty of them are taken. */
export async function startTensorBoard(
  logs: string,
  { environment, cwd, logFile }: { environment: Environment; cwd: string; logFile: string },
): Promise<TensorBoard | undefined> {
  const port = await freePort(TENSORBOARD_PORT, PORTS_TRIED);
  if (port === undefined) return undefined;
  mkdirSync(dirname(logFile), { recursive: true });
  const child = startChild({
    command: [environment.python, "-m", "tensorboard.main", "--logdir", logs, "--host", "localhost"].concat([
      ...["--port", String(port), "--reload_interval", "5"],
    ]),
    cwd,
    env: environment.variables,
    log: logFile,
    python: environment.python,
    graceSeconds: 1,
  });
  return { url: `http://localhost:${port}`, child };
}

/** The first port from `first` on that nothing listens on, on either of localhost's addresses. */
export async function freePort(first: number, tried: number): Promise<number | undefined> {
  for (let port = first; port < first + tried; port++) {
    if ((await isFree(port, "127.0.0.1")) && (await isFree(port, "::1"))) return port;
  }
  return undefined;
}

function isFree(port: number, host: string): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    // A machine without IPv6 has no ::1 to be taken.
    server.once("error", (error: NodeJS.ErrnoException) => done(error.code !== "EADDRINUSE"));
    server.listen(port, host, () => server.close(() => done(true)));
  });
}
