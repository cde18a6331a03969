/** Content hashes of files, directories and what lies elsewhere; what has not changed is not read again. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { isUri } from "../configs/load";

interface Entry {
  readonly stamp: string;
  readonly sha256: string;
}

/** A file changed so recently may change again within the resolution of its times: its hash is not kept. */
const SETTLED_MS = 2000;

export class Hashes {
  private readonly entries: Map<string, Entry>;

  private constructor(
    private readonly file: string,
    entries: Iterable<[string, Entry]>,
  ) {
    this.entries = new Map(entries);
  }

  /** Starts from the hashes kept in `file`. A file that is not there, or torn, holds none. */
  static async load(file: string): Promise<Hashes> {
    const kept = await readFile(file, "utf8")
      .then((text) => Object.entries(JSON.parse(text) as Record<string, Entry>))
      .catch(() => []);
    return new Hashes(file, kept);
  }

  async save(): Promise<void> {
    await mkdir(dirname(this.file), { recursive: true });
    const part = `${this.file}.${process.pid}.part`;
    // What lies elsewhere is not asked for; a file that is gone would be kept in mind for ever.
    const kept = [...this.entries].filter(([place]) => isUri(place) || existsSync(place));
    await writeFile(part, JSON.stringify(Object.fromEntries(kept)));
    await rename(part, this.file);
  }

  /** sha256 of a file's content, hex. */
  async ofFile(path: string): Promise<string> {
    const { size, mtimeMs, ctimeMs, ino } = await stat(path);
    const stamp = [size, mtimeMs, ctimeMs, ino].join(" ");
    const kept = this.entries.get(path);
    if (kept?.stamp === stamp) return kept.sha256;
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
    const sha256 = hash.digest("hex");
    if (Date.now() - Math.max(mtimeMs, ctimeMs) > SETTLED_MS) this.entries.set(path, { stamp, sha256 });
    return sha256;
  }

  /** sha256 of what lies elsewhere: `read` gives it, and is asked again only once `stamp` is another one. */
  async ofRemote(uri: string, stamp: string, read: () => Promise<string>): Promise<string> {
    const kept = this.entries.get(uri);
    if (kept?.stamp === stamp) return kept.sha256;
    const sha256 = await read();
    this.entries.set(uri, { stamp, sha256 });
    return sha256;
  }

  /** sha256 over the paths and contents of all files below the directories, but for those that `leaveOut` names. */
  async ofTrees(directories: readonly string[], leaveOut: (name: string) => boolean): Promise<string> {
    const hash = createHash("sha256");
    for (const [index, directory] of directories.entries()) {
      for (const path of (await filesBelow(directory, leaveOut)).sort()) {
        const name = relative(directory, path).split(sep).join("/");
        hash.update(`${index} ${name}\0${await this.ofFile(path)}\n`);
      }
    }
    return hash.digest("hex");
  }
}

/** Links are followed: the files of a Hugging Face cache are links. */
async function filesBelow(directory: string, leaveOut: (name: string) => boolean): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => !leaveOut(name));
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name);
      return (await stat(path)).isDirectory() ? filesBelow(path, leaveOut) : [path];
    }),
  );
  return found.flat();
}
