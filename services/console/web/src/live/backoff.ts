/** 1 s, 2 s, 4 s … 30 s, each shortened by up to a third so that many consoles do not come back at once. */
export function backoffMs(attempt: number, random: number): number {
  const whole = Math.min(30_000, 1000 * 2 ** Math.min(attempt - 1, 5));
  return Math.round(whole * (1 - random / 3));
}
