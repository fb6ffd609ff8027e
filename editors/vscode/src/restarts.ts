// When a server that died is started again: after 1, 2, 4 and 8 seconds, and after the fifth death not at all.
//
// Rule: a plain function; one that lived for a minute starts the count anew.
//
//     nextTry(0, 20)     // { deaths: 1, wait_ms: 1000 }

const BACK_OFF_MS = [1000, 2000, 4000, 8000];
const LIVED_MS = 60_000;

/** The deaths counted by now, and how long to wait; undefined gives up. */
export function nextTry(deathsBefore: number, lived_ms: number): { deaths: number; wait_ms: number | undefined } {
  const before = lived_ms > LIVED_MS ? 0 : deathsBefore;
  return { deaths: before + 1, wait_ms: BACK_OFF_MS[before] };
}
