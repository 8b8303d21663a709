/** What one line of HAProxy's agent-check protocol says. */
export interface AgentLine {
  /** Share of its weight in per cent, 0–100; a higher number counts as 100. */
  readonly percent: number | undefined
  /** Attempts at once; 0: as configured. */
  readonly maxconn: number | undefined
  /** `up` lifts `down`. */
  readonly operational: 'up' | 'down' | undefined
  /** `ready` lifts the other two. */
  readonly administrative: 'ready' | 'drain' | 'maint' | undefined
  /** What follows a `#`. */
  readonly description: string
  readonly unknown: readonly string[]
}

/**
 * Reads a line: words between blanks or commas, in any order; each kind's last one counts (HAProxy's configuration manual,
 * agent-check). `down`, `fail`, `failed` and `stopped` all mean down.
 */
export function readAgentLine (line: string): AgentLine {
  const hash = line.indexOf('#')
  const description = hash === -1 ? '' : line.slice(hash + 1).trim()
  let percent: number | undefined
  let maxconn: number | undefined
  let operational: AgentLine['operational']
  let administrative: AgentLine['administrative']
  const unknown: string[] = []
  for (const word of (hash === -1 ? line : line.slice(0, hash)).split(/[\s,]+/)) {
    if (word === '') continue
    const lower = word.toLowerCase()
    const [, share] = /^(\d{1,6})%$/.exec(lower) ?? []
    const [, limit] = /^maxconn:(\d{1,9})$/.exec(lower) ?? []
    if (share !== undefined) percent = Math.min(100, Number(share))
    else if (limit !== undefined) maxconn = Number(limit)
    else if (lower === 'up') operational = 'up'
    else if (lower === 'down' || lower === 'fail' || lower === 'failed' || lower === 'stopped') operational = 'down'
    else if (lower === 'ready' || lower === 'drain' || lower === 'maint') administrative = lower
    else unknown.push(word.slice(0, 40))
  }
  return { percent, maxconn, operational, administrative, description, unknown }
}
