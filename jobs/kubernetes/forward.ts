/** A port of this machine that leads to one in a pod, through the Kubernetes API, as kubectl port-forward does. */
import { createServer, type Socket } from "node:net";
import { Writable } from "node:stream";
import type { KubeConfig } from "@kubernetes/client-node";

export interface PodPort {
  readonly namespace: string;
  readonly port: number;
  /** The pod's name, asked for at every connection: pods come and go. */
  readonly pod: () => Promise<string | undefined>;
}

/**
 * The number of a port on 127.0.0.1. While no pod is there, or its port does not answer, connections are closed at once.
 * It keeps no process alive: whoever waits for an answer does.
 */
export async function forwarded(config: KubeConfig, target: PodPort): Promise<number> {
  const { PortForward } = await import("@kubernetes/client-node");
  const forward = new PortForward(config);
  const connect = async (socket: Socket): Promise<void> => {
    const pod = await target.pod();
    if (pod === undefined) throw new Error("there is no such pod");
    const refused = new Writable({
      write(why: Buffer, _encoding, done) {
        if (why.length > 0) socket.destroy(); // the first thing on it is the port's number, of which nothing is left
        done();
      },
    });
    const channel = await forward.portForward(target.namespace, pod, [target.port], socket, refused, socket);
    if (typeof channel === "function") return; // only where it was told to connect again by itself
    if (socket.destroyed) return channel.close();
    socket.once("close", () => channel.close());
    channel.onclose = () => socket.end();
  };
  const server = createServer((socket) => {
    socket.unref().on("error", () => socket.destroy());
    void connect(socket).catch(() => socket.destroy());
  }).unref();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
}
