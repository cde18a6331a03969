/** Reads a YAML file into a RunConfig, or says everything that is wrong with it, as `file:line:col: key: problem`. */
import { readFileSync, statSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
  type YAMLError,
} from "yaml";
import { type Path, type Problem, problemsOf } from "./problems";
import { DATA_NAMES, RunConfig } from "./schema";

/** The user's mistakes in a config file, one a line. A program prints the message, no stack trace, and exits with 2. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  constructor(readonly problems: readonly string[]) {
    super(problems.join("\n"));
  }
}

/** What `loadConfig` asks of the file system. */
export type KindOfPath = (path: string) => "file" | "directory" | undefined;

/**
 * Reads a config file; relative paths in it become absolute, from the file's own directory.
 * Throws ConfigError with every problem, data files that do not exist among them.
 */
export function loadConfig(file: string): RunConfig {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === "ENOENT" ? "no such file" : (error as Error).message;
    throw new ConfigError([`${display(file)}: ${why}`]);
  }
  return parseConfig(text, file, kindOfPath);
}

/** `loadConfig` on text that was read already. Pure: the file system is what `kindOf` says. */
export function parseConfig(text: string, file: string, kindOf: KindOfPath): RunConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const fail = (found: readonly Located[]): never => {
    const inOrder = [...found].sort((a, b) => a.offset - b.offset);
    throw new ConfigError(
      inOrder.map(({ offset, message }) => {
        const { line, col } = lines.linePos(offset);
        return `${display(file)}:${line}:${col}: ${message}`;
      }),
    );
  };
  const locate = ({ path, at, message }: Problem): Located => ({
    offset: offsetOf(document, path, at),
    message: path.length > 0 ? `${path.join(".")}: ${message}` : message,
  });

  const unreadable = [...document.errors.map((error) => yamlProblem(error, text)), ...unresolvedAliases(document)];
  if (unreadable.length > 0) return fail(unreadable);
  if (!isMap(document.contents)) {
    return fail([{ offset: 0, message: "must be a block of keys, such as name: and model:" }]);
  }
  const value: unknown = document.toJS();
  const parsed = RunConfig.safeParse(value);
  if (!parsed.success) return fail(problemsOf(parsed.error.issues, value).map(locate));
  const config = resolvePaths(parsed.data, dirname(resolve(file)));
  const missing = missingPaths(config, kindOf);
  return missing.length > 0 ? fail(missing.map(locate)) : config;
}

interface Located {
  readonly offset: number;
  readonly message: string;
}

/** `*name` where no `&name` comes before it: the parser only finds out when the values are asked for. */
function unresolvedAliases(document: Document): Located[] {
  const found: Located[] = [];
  visit(document, {
    Alias(_, alias) {
      if (!alias.resolve(document))
        found.push({ offset: start(alias), message: `no &${alias.source} comes before it` });
    },
  });
  return found;
}

/** `config` with every relative path made absolute, from `directory`. */
function resolvePaths(config: RunConfig, directory: string): RunConfig {
  const absolute = (place: string): string => (isUri(place) ? place : resolve(directory, place));
  const { selfCritique, hardFailures, test } = config.data;
  return {
    ...config,
    model: { base: absolute(config.model.base) },
    data: {
      ...config.data,
      ...(selfCritique !== undefined && { selfCritique: absolute(selfCritique) }),
      ...(hardFailures !== undefined && { hardFailures: absolute(hardFailures) }),
      test: absolute(test),
    },
  };
}

function missingPaths(config: RunConfig, kindOf: KindOfPath): Problem[] {
  const files = DATA_NAMES.flatMap((name) => {
    const path = config.data[name];
    return path === undefined ? [] : [{ path: ["data", name], place: path, wanted: "file" as const }];
  });
  const model = { path: ["model", "base"], place: config.model.base, wanted: "directory" as const };
  return [model, ...files].flatMap(({ path, place, wanted }) => {
    const kind = isUri(place) ? wanted : kindOf(place);
    if (kind === wanted) return [];
    return [
      {
        path,
        at: "value" as const,
        message: kind ? `must be a ${wanted}: ${place} is a ${kind}` : `no such ${wanted}: ${place}`,
      },
    ];
  });
}

export const isUri = (place: string): boolean => /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(place);

function kindOfPath(path: string): "file" | "directory" | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && (stat.isDirectory() ? "directory" : "file");
}

function yamlProblem(error: YAMLError, text: string): Located {
  const offset = error.pos[0];
  if (error.code === "DUPLICATE_KEY") {
    const key = /^\S*?(?=\s*:)/.exec(text.slice(offset))?.[0];
    return { offset, message: `${key}: is given twice` };
  }
  if (error.code === "MULTIPLE_DOCS") return { offset, message: "a second document begins; a run is one" };
  // The first line says what; the rest draws the place, which file:line:col says already.
  const what = (error.message.split("\n")[0] ?? "").replace(/ at line \d+, column \d+:?$/, "");
  return { offset, message: `not YAML: ${what}` };
}

/** Where a problem is in the text: its value or its key, or the nearest block that is there. */
function offsetOf(document: Document, path: Path, at: Problem["at"]): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const [depth, key] of path.entries()) {
    const found = entryOf(isAlias(node) ? node.resolve(document) : node, key);
    if (!found) return offset;
    const atValue = at === "value" && depth === path.length - 1;
    offset = start(atValue ? (found.value ?? found.key) : (found.key ?? found.value));
    node = found.value;
  }
  return offset;
}

function entryOf(container: unknown, key: Path[number]): { key?: unknown; value: unknown } | undefined {
  if (isMap(container)) {
    return container.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(key));
  }
  return isSeq(container) && typeof key === "number" ? { value: container.items[key] } : undefined;
}

const start = (node: unknown): number => (node as Node | undefined)?.range?.[0] ?? 0;

/** The path as a person in the current directory would write it. */
function display(file: string): string {
  const path = relative("", file);
  return path.startsWith("..") ? file : path;
}
