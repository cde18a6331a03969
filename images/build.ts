/** `npm run images`: builds the images of a stack with docker, podman or buildah, and names what was built by its digest. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { reported, VisibleError } from "../jobs/visibleError";

const HERE = __dirname;
const IMAGES = ["trainer", "evaluator", "tensorboard", "store"] as const;
type Image = (typeof IMAGES)[number];
const TOOLS = ["docker", "podman", "buildah"] as const;
type Tool = (typeof TOOLS)[number];

const USAGE = `npm run images -- (--push REGISTRY/PATH | --layout DIRECTORY) [--cpu] [--store] [--base IMAGE=REFERENCE]… [--tool docker|podman|buildah]
  --push      pushes the images there; log in with the tool itself before
  --layout    writes them as one OCI layout (podman and buildah), for a node without a registry:
              tar -C DIRECTORY -cf - . | ctr -n k8s.io images import -
  --cpu       evaluates on the trainer's image, with transformers serve, instead of vLLM's
  --store     builds the S3 server, too, that storage.inCluster needs
  --base      another base image, such as trainer=registry/python@sha256:…; by default those named in the Dockerfiles.
              A tag is looked up once: the digest it stands for is what the image is built from, and says in its labels
A bundle of certificates that a proxy needs is taken from SSL_CERT_FILE.`;

interface Build {
  readonly tool: Tool;
  readonly push: string | undefined;
  readonly layout: string | undefined;
  readonly images: readonly Image[];
  readonly bases: ReadonlyMap<string, string>;
  readonly certificates: string | undefined;
}

function main(args: readonly string[]): number {
  const build = parsed(args);
  const digests = new Map<Image, string>();
  for (const image of build.images) {
    run(build.tool, buildArgs(image, build), join(HERE));
    digests.set(image, build.push ? pushed(image, build) : laidOut(image, build));
  }
  const file = join(HERE, "../.cache/images.json");
  mkdirSync(join(HERE, "../.cache"), { recursive: true });
  writeFileSync(file, `${JSON.stringify(Object.fromEntries(digests), undefined, 2)}\n`);
  console.log("\nthe images of a stack, by digest:");
  for (const [image, reference] of digests) console.log(`pulumi config set --path retort:images.${image} ${reference}`);
  return 0;
}

function parsed(args: readonly string[]): Build {
  const text = { type: "string" } as const;
  const options = {
    push: text,
    layout: text,
    tool: text,
    cpu: { type: "boolean" },
    store: { type: "boolean" },
    base: { ...text, multiple: true },
  } as const;
  let values: ReturnType<typeof parseArgs<{ options: typeof options }>>["values"];
  try {
    values = parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw new VisibleError(`${(error as Error).message}\n${USAGE}`, 2);
  }
  const { push, layout, cpu, store, base = [] } = values;
  if ((push === undefined) === (layout === undefined)) throw new VisibleError(`say where the images go\n${USAGE}`, 2);
  const bases = new Map(base.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]));
  const unknown = [...bases.keys()].filter((name) => !IMAGES.some((image) => image === name));
  if (unknown.length > 0)
    throw new VisibleError(`--base ${unknown.join(", ")}: must be ${IMAGES.join(", ")}=REFERENCE`, 2);
  if (cpu) bases.set("evaluator", localName("trainer"));
  const tool = toolOf(values.tool);
  if (layout && tool === "docker") throw new VisibleError("--layout needs podman or buildah", 2);
  const images = IMAGES.filter((image) => image !== "store" || store);
  return { tool, push, layout: layout && resolve(layout), images, bases, certificates: process.env["SSL_CERT_FILE"] };
}

function toolOf(wanted: string | undefined): Tool {
  const tool = TOOLS.find((name) => (wanted ?? name) === name && works(name));
  if (tool) return tool;
  throw new VisibleError(
    `${wanted ?? TOOLS.join(", ")}: not here, or it does not answer; install one of ${TOOLS.join(", ")}`,
    2,
  );
}

/** Docker's command may be there without its daemon. */
const works = (tool: Tool): boolean => spawnSync(tool, ["info"], { stdio: "ignore" }).status === 0;

const localName = (image: Image): string => `localhost/retort-${image}:latest`;

interface Base {
  readonly name: string;
  /** Unknown for an image that was only ever on this machine. */
  readonly digest: string | undefined;
}

/** What an image is built from: a tag stands for another image tomorrow, so the one that it stands for now is named. */
function baseOf(image: Image, { tool, bases }: Build): Base {
  const dockerfile = readFileSync(join(HERE, image, "Dockerfile"), "utf8");
  const name = bases.get(image) ?? /^ARG BASE=(\S+)$/m.exec(dockerfile)?.[1] ?? "";
  if (name.startsWith("localhost/")) return { name, digest: undefined };
  if (name.includes("@")) return { name, digest: name.slice(name.indexOf("@") + 1) };
  run(tool, ["pull", name]);
  const asked =
    tool === "buildah"
      ? ["inspect", "--type", "image", "--format", "{{.FromImageDigest}}", name]
      : ["image", "inspect", "--format", "{{index .RepoDigests 0}}", name];
  const { stdout } = spawnSync(tool, asked, { encoding: "utf8" });
  const [digest] = /sha256:[0-9a-f]{64}/.exec(stdout) ?? [];
  if (!digest) throw new VisibleError(`${tool} does not know the digest of ${name}, though it pulled it`);
  return { name: `${name.replace(/:[^:/]*$/, "")}@${digest}`, digest };
}

function buildArgs(image: Image, build: Build): string[] {
  const { name, digest } = baseOf(image, build);
  const { certificates } = build;
  return [
    "build",
    ...["--file", `${image}/Dockerfile`, "--tag", localName(image)],
    ...["--build-arg", `BASE=${name}`, "--label", `org.opencontainers.image.base.name=${name}`],
    ...(digest ? ["--label", `org.opencontainers.image.base.digest=${digest}`] : []),
    ...(certificates ? ["--secret", `id=ca,src=${certificates}`] : []),
    ".",
  ];
}

/** Pushes an image; returns its name with its digest. */
function pushed(image: Image, { tool, push }: Build): string {
  const name = `${push}/retort-${image}`;
  const tagged = `${name}:latest`;
  run(tool, ["tag", localName(image), tagged]);
  if (tool !== "docker") return `${name}@${withDigest((file) => run(tool, ["push", "--digestfile", file, tagged]))}`;
  run(tool, ["push", tagged]);
  const { stdout } = spawnSync(tool, ["inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", tagged], {
    encoding: "utf8",
  });
  const found = stdout.split("\n").find((reference) => reference.startsWith(`${name}@`));
  if (!found) throw new VisibleError(`docker does not know the digest of ${tagged}, though it pushed it`);
  return found;
}

/** Writes an image into an OCI layout; returns the name with digest that it will have on a node that imports it. */
function laidOut(image: Image, { tool, layout = "" }: Build): string {
  mkdirSync(layout, { recursive: true });
  // As fast as can be: the layout is read once, and gzip takes minutes for gigabytes.
  const fast = ["--compression-format", "zstd", "--compression-level", "1"];
  const args = [...fast, localName(image), `oci:${layout}:${localName(image)}`];
  return `localhost/retort-${image}@${withDigest((file) => run(tool, ["push", "--digestfile", file, ...args]))}`;
}

function withDigest(push: (file: string) => void): string {
  const file = join(HERE, "../.cache/digest");
  mkdirSync(join(HERE, "../.cache"), { recursive: true });
  push(file);
  return readFileSync(file, "utf8").trim();
}

function run(tool: Tool, args: readonly string[], cwd?: string): void {
  console.log(`${tool} ${args.join(" ")}`);
  const { status } = spawnSync(tool, args, { stdio: "inherit", cwd, env: { ...process.env, DOCKER_BUILDKIT: "1" } });
  if (status !== 0) throw new VisibleError(`${tool} ${args[0]} ended with exit code ${status}`);
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (error) {
  process.exitCode = reported(error);
}
