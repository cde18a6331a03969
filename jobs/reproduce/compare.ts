/** Where the results of two runs agree, and where they do not. Pure. */
import type { StageName } from "../stages";
import type { Answer, Results } from "./results";

export interface Comparison {
  readonly stage: StageName;
  readonly what: string;
  /** Undefined: it could not be looked at. */
  readonly agrees: boolean | undefined;
  readonly says: string;
}

export function compareResults(first: Results, again: Results): Comparison[] {
  return [
    { stage: "train", what: "losses", ...numbers(first.losses, again.losses, "update") },
    { stage: "train", what: "validation", ...numbers(first.validation, again.validation, "validation at update") },
    { stage: "train", what: "adapter", ...bytes(first.adapter, again.adapter) },
    { stage: "merge", what: "model", ...bytes(first.model, again.model) },
    { stage: "evaluate", what: "pass rate before", ...rates(first.base, again.base) },
    { stage: "evaluate", what: "answers before", ...answers(first.base, again.base) },
    { stage: "evaluate", what: "pass rate after", ...rates(first.merged, again.merged) },
    { stage: "evaluate", what: "answers after", ...answers(first.merged, again.merged) },
  ];
}

type Verdict = Omit<Comparison, "stage" | "what">;
const GONE: Verdict = { agrees: undefined, says: "cannot be compared: it is gone" };

/** Exactly equal, not nearly so: a last bit that differs is worth knowing, and its size is said. */
function numbers(a: ReadonlyMap<string, number> | undefined, b: typeof a, unit: string): Verdict {
  if (!a || !b) return GONE;
  const differing = keysOf(a, b).filter((key) => a.get(key) !== b.get(key));
  const [key] = differing;
  if (key === undefined) return { agrees: true, says: `identical (${a.size})` };
  const [before, after] = [a.get(key), b.get(key)];
  const gaps = differing.map((at) => Math.abs((a.get(at) ?? Number.NaN) - (b.get(at) ?? Number.NaN)));
  const largest = Math.max(...gaps.filter((gap) => !Number.isNaN(gap)), 0);
  const first = `${unit} ${key} was ${before ?? "not made"}, is ${after ?? "not made"}`;
  return { agrees: false, says: `differ from ${first}; by ${largest.toPrecision(2)} at most` };
}

function bytes(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): Verdict {
  if (a.size === 0 || b.size === 0) return GONE;
  const keys = keysOf(a, b);
  const differing = keys.filter((key) => a.get(key) !== b.get(key));
  if (differing.length === 0) return { agrees: true, says: `identical bytes (${counted(keys.length, "file")})` };
  return { agrees: false, says: `other bytes in ${differing.length} of ${counted(keys.length, "file")}` };
}

function rates(a: ReadonlyMap<string, Answer> | undefined, b: typeof a): Verdict {
  if (!a || !b) return GONE;
  const [before, after] = [rateOf(a), rateOf(b)];
  return before === after
    ? { agrees: true, says: `identical: ${before}` }
    : { agrees: false, says: `was ${before}, is ${after}` };
}

function rateOf(answers: ReadonlyMap<string, Answer>): string {
  const passed = [...answers.values()].filter((answer) => answer.passed).length;
  return `${((100 * passed) / Math.max(1, answers.size)).toFixed(2)} % (${passed} of ${answers.size})`;
}

const SHOWN = 5;

function answers(a: ReadonlyMap<string, Answer> | undefined, b: typeof a): Verdict {
  if (!a || !b) return GONE;
  const keys = keysOf(a, b);
  const differing = keys.filter((key) => a.get(key)?.response !== b.get(key)?.response);
  const regraded = keys.filter((key) => a.get(key)?.passed !== b.get(key)?.passed);
  if (differing.length === 0 && regraded.length === 0) {
    return { agrees: true, says: `identical (${counted(keys.length, "row")})` };
  }
  const rows = [...new Set([...regraded, ...differing])];
  const list = `${rows.slice(0, SHOWN).join(", ")}${rows.length > SHOWN ? ", …" : ""}`;
  return {
    agrees: false,
    says: `${differing.length} of ${counted(keys.length, "row")} answered otherwise, ${regraded.length} graded otherwise: rows ${list}`,
  };
}

const keysOf = (a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): string[] => [
  ...new Set([...a.keys(), ...b.keys()]),
];

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
