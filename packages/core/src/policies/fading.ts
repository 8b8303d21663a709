/**
 * About exp(−x) for x ≥ 0, within 0.01: (1 + x/32)^−32, without a call. Powers below that have so fat a tail that healed
 * upstreams come back noticeably later.
 */
export function fading (x: number): number {
  let y = 1 / (1 + x * 0.03125)
  y *= y
  y *= y
  y *= y
  y *= y
  return y * y
}
