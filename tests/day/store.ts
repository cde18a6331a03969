/** A store in memory: what stages and programs write, for histories that last a simulated day. */
import type { S3Store } from "../../jobs/s3";

export function memoryStore(): S3Store {
  const files = new Map<string, string>();
  const below = (uri: string) => [...files].filter(([path]) => path.startsWith(`${uri}/`));
  const unused = async (): Promise<never> => {
    throw new Error("no history asks for this");
  };
  return {
    read: async (uri) => files.get(uri),
    listing: async (uri) => new Map(below(uri).map(([path, text]) => [path.slice(uri.length + 1), text.length])),
    async write(uri, text) {
      files.set(uri, text);
    },
    head: unused,
    uploadOnce: unused,
    revision: unused,
    sha256: unused,
    makeBucket: unused,
    directories: async (uri) => [
      ...new Set(below(uri).map(([path]) => path.slice(uri.length + 1).split("/")[0] ?? "")),
    ],
  };
}
