import { connect } from 'node:net'
import { channels, type Deadlines, type Pool, type ReportedState, type Upstream } from '@headgate/core'
import { type AgentLine, readAgentLine } from './agent-line.ts'
import { Loop } from './loop.ts'
import type { AgentSettings } from './check-options.ts'
import { failed, type ProbeResult, failedBy } from './probes/contract.ts'
import type { LoadReports } from './load-reports.ts'

/** Bytes of a line; a longer one is ignored. */
const LIMIT = 4096

interface AgentAnswer extends ProbeResult {
  readonly line: string
}

/** What the agent said last. */
export interface LastAgent {
  /** Milliseconds since the Unix epoch. */
  readonly at: number
  readonly ok: boolean
  /** Its line, or why there was none. */
  readonly said: string
}

/** Asks an agent beside the upstream what it may be used for, over and over: HAProxy's agent-check. No answer says nothing. */
export class AgentCheck extends Loop<AgentAnswer> {
  last: LastAgent | undefined
  protected readonly limit: number
  readonly #pool: Pool
  readonly #upstream: Upstream
  readonly #settings: AgentSettings
  readonly #reports: LoadReports | undefined
  readonly #warn: (message: string) => void
  readonly #configuredLimit: number
  #down: string | undefined
  #administrative: ReportedState | undefined
  #idle = false
  #warned = false

  /** `warn` is called once at most. */
  constructor (
    pool: Pool, upstream: Upstream, settings: AgentSettings, deadlines: Deadlines, reports: LoadReports | undefined, warn: (message: string) => void
  ) {
    super(deadlines)
    this.#pool = pool
    this.#upstream = upstream
    this.#settings = settings
    this.#reports = reports
    this.#warn = warn
    this.limit = settings.timeout
    this.#configuredLimit = upstream.maxInFlight
  }

  protected now (): number { return this.#pool.environment.clock.now() }
  protected interval (): number { return this.#settings.interval * (1 + this.#settings.jitter * (2 * this.#pool.environment.random() - 1)) }

  protected run (signal: AbortSignal): Promise<AgentAnswer> {
    const { host, port, send } = this.#settings
    return new Promise((resolve) => {
      let text = ''
      const socket = connect({ host: host ?? this.#upstream.target.hostname, port }, () => { if (send !== undefined) socket.write(send, 'latin1') })
      const end = (answer: ProbeResult & { line?: string }): void => {
        socket.destroy()
        resolve({ line: '', ...answer })
      }
      socket.setEncoding('latin1')
      socket.on('data', (chunk: string) => {
        text += chunk.slice(0, LIMIT + 1 - text.length)
        const stop = text.search(/[\r\n\0]/)
        if (stop !== -1) end({ ok: true, reason: 'answered', line: text.slice(0, stop) })
        else if (text.length > LIMIT) {
          this.#warnOnce(`the agent's line is longer than ${LIMIT} bytes: ignored`)
          end(failed(`its line is longer than ${LIMIT} bytes`))
        }
      })
      socket.on('error', (error) => { end(failedBy(error)) })
      // Without an end of line the connection's end is the line's.
      socket.on('close', () => { end(text === '' ? failed('closed without a line') : { ok: true, reason: 'answered', line: text }) })
      signal.addEventListener('abort', () => { socket.destroy() }, { once: true })
    })
  }

  protected ended (answer: AgentAnswer | ProbeResult, latency: number): void {
    const { name } = this.#pool
    const { id, url } = this.#upstream
    const line = 'line' in answer ? answer.line : ''
    const at = this.#pool.environment.clock.wall()
    this.last = { at, ok: answer.ok, said: answer.ok ? line : answer.reason }
    if (channels.probe.hasSubscribers) {
      channels.probe.publish({ pool: name, upstream: id, url, kind: 'agent', ok: answer.ok, reason: this.last.said, latency, at, source: this.#pool })
    }
    if (answer.ok) this.#apply(readAgentLine(line))
  }

  #apply ({ percent, maxconn, operational, administrative, description, unknown }: AgentLine): void {
    const { health } = this.#upstream
    const because = (word: string): string => `agent: ${word}${description === '' ? '' : ` (${description})`}`
    if (unknown.length > 0) this.#warnOnce(`the agent says words that are not known: ${unknown.slice(0, 5).join(' ')}`)
    if (operational !== undefined) this.#down = operational === 'down' ? because('down') : undefined
    if (administrative !== undefined) this.#administrative = administrative === 'ready' ? undefined : administrative === 'drain' ? 'draining' : 'maintenance'
    if (percent !== undefined) {
      // No share at all is no new work, and a weight cannot be zero while it is used.
      this.#idle = percent === 0
      if (this.#reports === undefined) this.#upstream.load.reported = 1 - percent / 100
      else this.#reports.reported(1 - percent / 100)
      if (channels.load.hasSubscribers) {
        channels.load.publish({ pool: this.#pool.name, upstream: this.#upstream.id, url: this.#upstream.url, from: 'agent', utilization: 1 - percent / 100, source: this.#pool })
      }
      health.degrade(percent === 0 ? 1 : percent / 100, because(`${percent}%`), Infinity, { percent }, 'agent')
    }
    if (maxconn !== undefined) this.#upstream.maxInFlight = maxconn === 0 ? this.#configuredLimit : maxconn
    if (this.#administrative === 'maintenance') health.say('maintenance', because('maint'))
    else if (this.#down !== undefined) health.say('down', this.#down)
    else if (this.#administrative === 'draining') health.say('draining', because('drain'))
    else if (this.#idle) health.say('draining', because('0%'))
    else health.say(undefined, because(operational ?? administrative ?? `${percent ?? 100}%`))
  }

  #warnOnce (message: string): void {
    if (this.#warned) return
    this.#warned = true
    this.#warn(message)
  }
}
