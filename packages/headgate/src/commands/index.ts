import type { ExplainView, Plan, RoutingView } from '@headgate/admin'
import { UsageError } from '../usage-error.ts'
import { Client } from './client.ts'
import { type ClientCommand, parseShares } from './options.ts'
import { top } from './top.ts'

const STATES = { drain: 'drain', maintenance: 'maintenance', up: 'up', auto: 'auto' } as const

const say = (text: string): void => { process.stdout.write(`${text}\n`) }

function tell ({ diff, warnings }: Plan): void {
  if (diff.length === 0) say('nothing to change')
  for (const { pool, url, split, route, field, before, after } of diff) {
    const subject = split !== '' ? `${split} ${pool}` : route !== '' ? `route ${route}` : `${pool} ${url}`
    say(`${subject} ${field}: ${String(before)} -> ${String(after)}`)
  }
  for (const warning of warnings) say(`warning: ${warning}`)
}

/** Does one command against a running proxy; `check-config` needs none. */
export async function runClientCommand (command: ClientCommand, signal: AbortSignal): Promise<void> {
  const client = new Client(command.url, command.token)
  const [first = '', second = ''] = command.args
  switch (command.name) {
    case 'top':
      return top(client, command, process.stdout, signal)
    case 'drain': case 'maintenance': case 'up': case 'auto': {
      const upstream = await client.find(first, command.pool)
      return tell(await client.change(upstream, { state: STATES[command.name], ...command.reason !== undefined && { reason: command.reason } }))
    }
    case 'weight':
      return tell(await client.change(await client.find(first, command.pool), { weight: Number(second) }))
    case 'remove':
      return tell(await client.remove(await client.find(first, command.pool)))
    case 'add': {
      const { pools } = await client.pools()
      const pool = command.pool ?? (pools.length === 1 ? pools[0]!.name : undefined)
      if (pool === undefined) throw new UsageError(`name the pool with --pool: ${pools.map(({ name }) => name).join(', ')}`)
      return tell(await client.call(`/pools/${encodeURIComponent(pool)}/upstreams`, 'POST', first))
    }
    case 'split': {
      if (first !== '') return tell(await client.call(`/splits/${encodeURIComponent(first)}`, 'PATCH', { weights: parseShares(command.args.slice(1), true) }))
      const routing = await client.call<RoutingView>('/routing')
      return command.json ? say(JSON.stringify(routing)) : list(routing)
    }
    case 'close': case 'open':
      return tell(await client.call('/maintenance', 'PUT', { active: command.name === 'close', ...!command.all && { routes: command.args } }))
    case 'purge': {
      const what = command.all ? { all: true } : { ...command.args.length > 0 && { urls: command.args }, ...command.tags.length > 0 && { tags: command.tags } }
      const { purged } = await client.call<{ purged: number }>('/cache/purge', 'POST', what)
      return say(`${purged} ${purged === 1 ? 'response' : 'responses'} purged`)
    }
    case 'explain': {
      const [method, url] = command.args.length === 1 ? ['GET', first] as const : [first, second] as const
      const query = new URLSearchParams([['method', method], ['url', url], ...command.headers.map((header): [string, string] => ['header', header])])
      return explain(await client.call<ExplainView>(`/explain?${query.toString()}`), command.json)
    }
    case 'import': {
      const { importFile } = await import('../import/index.ts')
      const draft = await importFile(first, second)
      process.stdout.write(draft.text(second))
      if (draft.notes.length > 0) process.stderr.write(`${draft.notes.length} not translated, or not the same: see the head of the result\n`)
      return
    }
    case 'check-config':
      return say(`${await (await import('./check-config.ts')).checkConfig(first)} is good`)
  }
}

function list ({ splits, routes }: RoutingView): void {
  for (const { name, weights } of splits) {
    const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0)
    say(`split ${name}: ${Object.entries(weights).map(([pool, weight]) => `${pool}=${weight} (${Math.round(weight / total * 1000) / 10}%)`).join(' ')}`)
  }
  for (const { prefix, maintenance } of routes) say(`route ${prefix}: ${maintenance ? 'closed for maintenance' : 'open'}`)
}

function explain (answer: ExplainView, json: boolean): void {
  if (json) return say(JSON.stringify(answer))
  if (answer.route === null) return say('no route of the balancer takes it; the app itself may')
  say(`route ${answer.route}, sent as ${answer.target}`)
  for (const { pool, policy, choice, upstream, candidates } of answer.pools) {
    say(`pool ${pool} (${policy}): ${upstream === '' ? choice : `${choice} -> ${upstream}`}`)
    for (const { id, url, share, skipped, inFlight, weight } of candidates) {
      say(`  ${skipped === '' ? `${Math.round(share * 100)}%`.padStart(4) : '   -'} ${id} ${url} weight ${weight}, ${inFlight} in flight${skipped === '' ? '' : ` (${skipped})`}`)
    }
  }
}
