/** Why two runs of the same config may not agree: what is recorded of each stage, and is not the same. Pure. */
import { canonicalJson } from "../fingerprint";
import type { StageRecord } from "./finishedRun";

/** Each in a person's words; none if nothing that is recorded differs. */
export function causesOf(first: StageRecord, again: StageRecord): string[] {
  const changed = (what: string, before: unknown, after: unknown): string[] =>
    canonicalJson(before) === canonicalJson(after) ? [] : [`${what}: was ${shown(before)}, is ${shown(after)}`];
  const each = (what: string, before: Fields, after: Fields): string[] =>
    [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) =>
      changed(`${what}${key}`, before[key] ?? null, after[key] ?? null),
    );
  const contents = ({ inputs: { data } }: StageRecord): Fields =>
    Object.fromEntries(Object.entries(data).map(([name, file]) => [name, file?.sha256]));
  return [
    ...changed("image", first.image, again.image),
    ...changed("packages (lock)", first.lock, again.lock),
    ...each("machine.", first.machine, again.machine),
    ...each("", first.settings, again.settings),
    ...changed("model", first.inputs.model.revision, again.inputs.model.revision),
    ...each("data.", contents(first), contents(again)),
    ...changed("config", first.config, again.config),
  ];
}

type Fields = Readonly<Record<string, unknown>>;

const LONGEST = 60;

function shown(value: unknown): string {
  if (value === null) return "not recorded";
  const text = typeof value === "string" ? value : canonicalJson(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** What is known to change last bits though nothing that is recorded differs. */
export const UNRECORDED =
  "nothing that is recorded differs: with several requests or threads at once, the order in which numbers are added " +
  "up is not fixed, and a last bit may change a token";
