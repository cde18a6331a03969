/** Says in the user's words what zod found wrong with a config, and which key a misspelt one was meant to be. */
import { distance } from "fastest-levenshtein";
import type { z } from "zod";
import { runConfigJsonSchema, type SchemaNode } from "./jsonSchema";

export type Path = readonly (string | number)[];

/** One thing to mend. `at` says whether its place in the file is the key itself or its value. */
export interface Problem {
  readonly path: Path;
  readonly at: "key" | "value";
  readonly message: string;
}

const runSchema = runConfigJsonSchema();

/** Every problem of `value`, in zod's order. A missing key is left out if a misspelt one is taken for it. */
export function problemsOf(
  issues: readonly z.core.$ZodIssue[],
  value: unknown,
  schema: SchemaNode = runSchema,
): Problem[] {
  const meant = new Set<string>();
  const unknownKeys = issues.flatMap((issue) => {
    if (issue.code !== "unrecognized_keys") return [];
    return issue.keys.map((key): Problem => {
      const path = [...issue.path.map(asKey), key];
      const suggestion = suggestionFor(path, schema);
      if (suggestion !== undefined) meant.add([...issue.path, suggestion].join("."));
      const hint = suggestion === undefined ? "" : `; did you mean "${suggestion}"?`;
      return { path, at: "key", message: `unknown key${hint}` };
    });
  });
  const others = issues.flatMap((issue) => {
    if (issue.code === "unrecognized_keys") return [];
    const path = issue.path.map(asKey);
    const missing = valueAt(value, path) === undefined;
    if (missing && meant.has(path.join("."))) return [];
    return [{ path, at: "value" as const, message: messageOf(issue, valueAt(value, path)) }];
  });
  return [...unknownKeys, ...others];
}

/** The key that was meant by an unknown one: a similar sibling, or the same key at its right place elsewhere. */
export function suggestionFor(path: Path, schema: SchemaNode = runSchema): string | undefined {
  const key = String(path.at(-1));
  const siblings = Object.keys(nodeAt(schema, path.slice(0, -1))?.properties ?? {});
  const [best] = siblings
    .map((sibling) => ({ sibling, away: distance(plain(key), plain(sibling)) }))
    .filter(({ sibling, away }) => away < key.length && away <= Math.max(2, Math.floor(sibling.length / 3)))
    .sort((a, b) => a.away - b.away);
  if (best) return best.sibling;
  const elsewhere = keyPaths(schema).filter((candidate) => plain(candidate.at(-1) ?? "") === plain(key));
  return elsewhere.length === 1 ? elsewhere[0]?.join(".") : undefined;
}

function messageOf(issue: z.core.$ZodIssue, value: unknown): string {
  if (value === undefined) return issue.code === "custom" ? issue.message : "is missing";
  return `${rule(issue)}, got ${shown(value)}`;
}

function rule(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return `must be ${TYPES[issue.expected] ?? issue.expected}`;
    case "too_small":
      if (issue.origin === "string" || issue.origin === "array") return "must not be empty";
      return `must be ${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`;
    case "too_big":
      return `must be ${issue.inclusive ? "at most" : "less than"} ${issue.maximum}`;
    case "invalid_value":
      return `must be ${issue.values.join(" or ")}`;
    default:
      return issue.message;
  }
}

const TYPES: Readonly<Record<string, string>> = {
  object: "a block of keys",
  array: "a list",
  string: "text",
  number: "a number",
  int: "a whole number",
};

/** A value as the user would recognise it, on one line. */
function shown(value: unknown): string {
  if (value === null) return "nothing";
  if (typeof value === "number") return String(value);
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** `max_epochs`, `max-epochs` and `maxEpochs` are the same word to a person. */
const plain = (key: string): string => key.toLowerCase().replace(/[_-]/g, "");

const asKey = (segment: PropertyKey): string | number => (typeof segment === "number" ? segment : String(segment));

function nodeAt(schema: SchemaNode, path: Path): SchemaNode | undefined {
  return path.reduce<SchemaNode | undefined>((node, key) => node?.properties?.[key], schema);
}

function keyPaths(node: SchemaNode, path: readonly string[] = []): string[][] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) => [
    [...path, key],
    ...keyPaths(child, [...path, key]),
  ]);
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (node, key) => (typeof node === "object" && node !== null ? (node as Record<string, unknown>)[key] : undefined),
    value,
  );
}
