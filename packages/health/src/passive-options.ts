import type { OptionUnit } from '@headgate/core'
import { checkShape, refuse } from './refuse.ts'
import { parseStatuses, type StatusRange, statusesSchema } from './statuses.ts'

export interface PassiveOptions {
  /** Ejects after so many attempts in a row without an answer (no connection, reset, timed out), 0 (never) – 1,000,000. @default 5 */
  readonly gatewayFailures?: number
  /** Ejects after so many failures in a row of either kind, wrong statuses included, 0 (never) – 1,000,000. @default 5 */
  readonly serverErrors?: number
  /** Statuses that are failures; 4xx never are. @default 500–599 but 501 and 505, which clients can bring about */
  readonly statuses?: StatusRange | readonly StatusRange[]
  /** Ejects when more than this share of the attempts within `window` failed, 0 (never) – 1. @default 0.5 */
  readonly failureRatio?: number
  /** Milliseconds that the ratio looks back, 1000–3,600,000. @default 30000 */
  readonly window?: number
  /** Attempts within `window` (or `latencyWindow`) under which neither ratio nor latency are judged, 1–1,000,000. @default 20 */
  readonly minimumVolume?: number
  /** Ejects one whose peak-sensitive mean latency is more than this many times the pool's median, 0 (never) – 1000. @default 5 */
  readonly latencyFactor?: number
  /** Milliseconds that it has to be so slow without a break, 1000–3,600,000. @default 30000 */
  readonly latencyWindow?: number
  /** Milliseconds above the median under which slowness does not matter, 0–3,600,000. @default 100 */
  readonly latencyFloor?: number
  /** Milliseconds of the first ejection; the n-th lasts n times as long, ± 10 %. 1–86,400,000. @default 30000 */
  readonly baseEjection?: number
  /** Milliseconds that no ejection exceeds, ≥ `baseEjection`. @default 300000 */
  readonly maxEjection?: number
  /** Per cent of a pool's usable members that may be ejected at once, rounded down, but one at least where there are two; 0–100. @default 50 */
  readonly maxEjectionPercent?: number
}

export interface PassiveSettings extends Required<Omit<PassiveOptions, 'statuses'>> {
  readonly statuses: ReadonlySet<number>
}

const count = { type: 'integer', minimum: 0, maximum: 1_000_000 }
const time = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum, unit: 'ms' satisfies OptionUnit })

/** JSON Schema of {@link PassiveOptions}. */
export const passiveSchema: object = {
  type: 'object',
  additionalProperties: false,
  properties: {
    gatewayFailures: count,
    serverErrors: count,
    statuses: statusesSchema,
    failureRatio: { type: 'number', minimum: 0, maximum: 1 },
    window: time(1000, 3_600_000),
    minimumVolume: { ...count, minimum: 1 },
    latencyFactor: { type: 'number', minimum: 0, maximum: 1000 },
    latencyWindow: time(1000, 3_600_000),
    latencyFloor: time(0, 3_600_000),
    baseEjection: time(1, 86_400_000),
    maxEjection: time(1, 86_400_000),
    maxEjectionPercent: { type: 'number', minimum: 0, maximum: 100 }
  } satisfies Record<keyof PassiveOptions, object>
}

/** Failures unless told otherwise. */
export const failureStatuses: ReadonlySet<number> = parseStatuses(['500', '502-504', '506-599'], '')

/** Checks what a user gave. Throws with a path that starts with `path`. */
export function checkPassive (options: PassiveOptions, path: string): void {
  checkShape(passiveSchema, options, path)
  const { statuses, baseEjection = 30_000, maxEjection } = options
  if (statuses !== undefined) parseStatuses(statuses, `${path}.statuses`)
  if (maxEjection !== undefined && maxEjection < baseEjection) refuse(`${path}.maxEjection`, `must not be shorter than baseEjection (${baseEjection})`, maxEjection)
}

/** Fills in the defaults. */
export function passiveSettings (options: PassiveOptions, path: string): PassiveSettings {
  const statuses = options.statuses === undefined ? failureStatuses : parseStatuses(options.statuses, `${path}.statuses`)
  const baseEjection = options.baseEjection ?? 30_000
  return Object.freeze({
    gatewayFailures: 5, serverErrors: 5, failureRatio: 0.5, window: 30_000, minimumVolume: 20, latencyFactor: 5, latencyWindow: 30_000,
    latencyFloor: 100, maxEjectionPercent: 50, ...options, statuses, baseEjection, maxEjection: Math.max(baseEjection, options.maxEjection ?? 300_000)
  })
}
