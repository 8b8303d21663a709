import { stringify } from 'yaml'

/** What was not translated, or is not quite the same. */
export interface Note {
  /** From 1 on. */
  readonly line: number
  /** As it stands there. */
  readonly directive: string
  readonly reason: string
}

export interface DraftPool {
  upstreams: string[]
  [option: string]: unknown
}

export interface DraftRule {
  match?: Record<string, unknown>
  [option: string]: unknown
}

/** A configuration that is being put together, and what could not be put into it. */
export class Draft {
  readonly listen: Set<string> = new Set()
  readonly pools: Record<string, DraftPool> = {}
  readonly rules: DraftRule[] = []
  readonly checks: Record<string, Record<string, unknown>> = {}
  readonly sticky: Record<string, Record<string, unknown>> = {}
  readonly stream: { pools: Record<string, DraftPool>; listeners: Record<string, unknown>[] } = { pools: {}, listeners: [] }
  readonly notes: Note[] = []
  /** Options of the one route that all rules are of. */
  readonly route: Record<string, unknown> = {}
  /** Options of the whole. */
  readonly more: Record<string, unknown> = {}

  note (line: number, directive: string, reason: string): void {
    this.notes.push({ line, directive, reason })
  }

  get empty (): boolean {
    return Object.keys(this.pools).length === 0 && this.rules.length === 0 && this.stream.listeners.length === 0
  }

  /** The configuration as an object; without what nothing was found for. */
  config (): Record<string, unknown> {
    const filled = (object: object): boolean => Object.keys(object).length > 0
    const one = this.rules.length === 1 && this.rules[0]!.match === undefined && typeof this.rules[0]!['pool'] === 'string' && this.rules[0]!['fallback'] === undefined
    return {
      ...this.listen.size > 0 && { listen: this.listen.size === 1 ? [...this.listen][0] : [...this.listen] },
      ...this.more,
      ...filled(this.pools) && { pools: this.pools },
      ...this.rules.length > 0 && { routes: [{ prefix: '/', ...this.route, ...one ? this.rules[0] : { rules: this.rules } }] },
      ...filled(this.checks) && { health: { check: false, pools: Object.fromEntries(Object.entries(this.checks).map(([pool, check]) => [pool, { check }])) } },
      ...filled(this.sticky) && { sticky: { pools: this.sticky } },
      ...this.stream.listeners.length > 0 && { stream: this.stream }
    }
  }

  /** The configuration as YAML, with what is missing above it. */
  text (from: string): string {
    const notes = this.notes.toSorted((a, b) => a.line - b.line)
    return `# Translated by headgate import from ${from}.\n` +
      (notes.length === 0 ? '# Everything in it was translated.\n' : `# Not translated, or not the same:\n${notes.map(describe).map((line) => `#   ${line}\n`).join('')}`) +
      stringify(this.config(), { lineWidth: 0, aliasDuplicateObjects: false })
  }
}

export const describe = ({ line, directive, reason }: Note): string => `line ${line}: ${directive}: ${reason}`
