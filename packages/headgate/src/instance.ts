import { randomUUID } from 'node:crypto'

/** Set by the primary of several workers, for them. */
export const INSTANCE_VARIABLE = 'HEADGATE_INSTANCE'

const own: string = randomUUID()

/** What this process, its earlier and later configurations and its fellow workers have in common, and nobody else. */
export function instance (): string {
  return process.env[INSTANCE_VARIABLE] ?? own
}
