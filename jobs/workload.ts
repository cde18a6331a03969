/** How much a run has to compute, before it runs: rows and letters of its data files, parameters of its model. */
import { readFileSync } from "node:fs";
import { isUri } from "../configs/load";
import type { RunConfig } from "../configs/schema";

export interface Letters {
  readonly rows: number;
  /** Of what is read and what is learnt or answered, in characters. */
  readonly prompt: number;
  readonly answer: number;
}

export interface Workload {
  readonly train: Letters;
  readonly test: Letters;
  /** Bytes of the base model's weights, in bf16. */
  readonly modelBytes: number;
  /** What could not be looked at and was assumed, for people. */
  readonly assumed: readonly string[];
}

/** How big what lies elsewhere is, in bytes; undefined if that cannot be said. */
export type SizeOf = (uri: string) => Promise<number | undefined>;

const EIGHT_BILLION_BYTES = 16.06e9;
/** Characters of a row of a file that was not opened: as in the project's own data. */
const ROW = { prompt: 700, answer: 1100 };

export async function workloadOf(config: RunConfig, sizeOf: SizeOf): Promise<Workload> {
  const assumed: string[] = [];
  const { selfCritique, hardFailures, test, rowLimit, selfCritiqueFormat } = config.data;
  const read = async (place: string | undefined, lettersOf: (row: Row) => Letters): Promise<Letters> => {
    if (place === undefined) return NONE;
    if (!isUri(place)) return rowsOf(readFileSync(place, "utf8"), rowLimit).map(lettersOf).reduce(add, NONE);
    const bytes = await sizeOf(place);
    const rows = bytes === undefined ? 5000 : Math.round(bytes / (ROW.prompt + ROW.answer));
    assumed.push(`${place}: ${rows} rows${bytes === undefined ? "" : ", by its size"}`);
    const used = Math.min(rows, rowLimit ?? rows);
    return { rows: used, prompt: used * ROW.prompt, answer: used * ROW.answer };
  };
  const critique = await read(selfCritique, ({ instruction, input, output, meta }) => ({
    rows: 1,
    prompt: size(instruction) + (selfCritiqueFormat === "revise" ? size(input) + size(meta?.critique) : 0),
    answer: size(output),
  }));
  const plain = (row: Row) => ({ rows: 1, prompt: size(row.instruction), answer: size(row.reference_answer) });
  const train = add(critique, await read(hardFailures, plain));
  const modelBytes = await sizeOf(config.model.base);
  if (modelBytes === undefined) assumed.push(`${config.model.base}: 8 billion parameters`);
  return { train, test: await read(test, plain), modelBytes: modelBytes ?? EIGHT_BILLION_BYTES, assumed };
}

interface Row {
  readonly instruction?: unknown;
  readonly input?: unknown;
  readonly output?: unknown;
  readonly reference_answer?: unknown;
  readonly meta?: { readonly critique?: unknown };
}

const NONE: Letters = { rows: 0, prompt: 0, answer: 0 };

const add = (a: Letters, b: Letters): Letters => ({
  rows: a.rows + b.rows,
  prompt: a.prompt + b.prompt,
  answer: a.answer + b.answer,
});

const size = (text: unknown): number => (typeof text === "string" ? text.length : 0);

/** A row that cannot be read counts as none here: the check of the data says what is wrong with it. */
function rowsOf(text: string, limit: number | undefined): Row[] {
  const lines = text.split("\n").filter((line) => line.trim());
  return lines.slice(0, limit).flatMap((line) => {
    try {
      return [JSON.parse(line) as Row];
    } catch {
      return [];
    }
  });
}
