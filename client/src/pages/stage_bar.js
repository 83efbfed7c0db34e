/** Where the time from capture to paint goes, as parts of a bar and in words. Pure; imports nothing. */

/** @typedef {import('../types.js').StageName} StageName */

/** In the order in which a frame goes through them, and who has it meanwhile. @type {readonly [StageName, string][]} */
export const STAGES = [
  ['capture', 'gateway'], ['convert', 'gateway'], ['encode', 'gateway'], ['queue', 'gateway'],
  ['send', 'network'], ['receive', 'network'], ['reassemble', 'network'], ['decode', 'viewer'], ['paint', 'viewer'],
];

const LEAST_MS = 0.05; // less is shown as nothing

/** @param {Record<StageName, number>} stages ms @returns {{name: StageName, ms: number, share: number}[]} share: 0..1 of all; in the order of STAGES */
export function stageParts(stages) {
  const times = STAGES.map(([name]) => Math.max(0, stages[name] || 0));
  const sum = times.reduce((a, b) => a + b, 0);
  return STAGES.map(([name], i) => ({ name, ms: times[i] ?? 0, share: sum > 0 ? (times[i] ?? 0) / sum : 0 }));
}

/** @param {{name: string, ms: number}[]} parts */
export function stageWordsOf(parts) {
  const seen = parts.filter(({ ms }) => ms >= LEAST_MS).map(({ name, ms }) => `${name} ${ms.toFixed(ms < 9.95 ? 1 : 0)}`);
  return seen.length ? `${seen.join(' · ')} ms` : '';
}
