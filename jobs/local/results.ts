/** What a finished run came to: the pass rates before and after, and where to look. */
import { existsSync, readFileSync } from "node:fs";
import { relative } from "node:path";
import { z } from "zod";
import { ARTIFACTS, join } from "../artifacts";

const Rate = z.looseObject({ passed: z.number(), total: z.number(), passRate: z.number() });
const Report = z.looseObject({ base: Rate, merged: Rate });

/** Lines for the end of a run; none if the directory holds no report. */
export function resultLines(evaluateOutput: string): string[] {
  const file = join(evaluateOutput, ARTIFACTS.evaluate.report);
  if (!existsSync(file)) return [];
  const { base, merged } = Report.parse(JSON.parse(readFileSync(file, "utf8")));
  return [
    `pass rate  ${percent(base)} before → ${percent(merged)} after`,
    `report     ${relative("", join(evaluateOutput, ARTIFACTS.evaluate.page))}`,
  ];
}

const percent = ({ passed, total, passRate }: z.output<typeof Rate>): string =>
  `${(passRate * 100).toFixed(1)} % (${passed.toLocaleString("en-US")} of ${total.toLocaleString("en-US")})`;
