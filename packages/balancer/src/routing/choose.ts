import type { FastifyRequest } from 'fastify'
import type { Pool } from '@headgate/core'
import type { MirrorMaker } from '../mirror/mirror.ts'
import { routeSettings, type ForwardOptions, type RouteOptions, type RouteSettings, type Rule } from '../options.ts'
import { hashKeyOf } from '../pool-questions.ts'
import { refuseRoute } from '../refuse.ts'
import { type Answer, compileRedirect, compileResponse } from './answers.ts'
import { type Matcher, compileMatch } from './match.ts'
import { Split } from './split.ts'

/** What is to become of a request. */
export interface Destination {
  /** The pools in the order of trial; none where it is answered at once. */
  readonly pools: readonly Pool[]
  readonly settings: RouteSettings
  /** Answers instead of an upstream. */
  readonly answer: Answer | undefined
}

/** `undefined`: no rule takes the request. */
export type Chooser = (request: FastifyRequest) => Destination | undefined

/** What a route's rules are compiled with. */
export interface Surroundings {
  /** The route's own. */
  readonly settings: RouteSettings
  readonly pools: ReadonlyMap<string, Pool>
  readonly random: () => number
  readonly mirrors: MirrorMaker
  /** Takes note of a split, so that its weights can be changed. Throws when the name is taken. */
  readonly splits: (split: Split<Destination>, path: string) => void
}

interface CompiledRule {
  readonly matches: Matcher | undefined
  readonly to: Destination | Split<Destination>
}

/** Compiles a route's `pool` or `rules` once. Throws `HG_BALANCER_INVALID_OPTION` with the option's path. */
export function compileChooser (route: RouteOptions, path: string, around: Surroundings): Chooser {
  if ((route.pool === undefined) === (route.rules === undefined)) refuseRoute(path, "needs either 'pool' or 'rules'", route)
  if (route.pool !== undefined) {
    const fixed: Destination = { pools: [poolOf(around, route.pool, `${path}.pool`)], settings: around.settings, answer: undefined }
    return () => fixed
  }
  const rules = route.rules!.map((rule, index) => compileRule(route, rule, index, `${path}.rules[${index}]`, around))
  return (request) => {
    for (const { matches, to } of rules) {
      if (matches === undefined || matches(request)) return to instanceof Split ? to.choose(request) : to
    }
    return undefined
  }
}

function poolOf ({ pools }: Surroundings, name: string, path: string): Pool {
  return pools.get(name) ?? refuseRoute(path, `must be one of the pools ${[...pools.keys()].join(', ')}`, name)
}

function compileRule (route: RouteOptions, rule: Rule, index: number, path: string, around: Surroundings): CompiledRule {
  const { prefix, viaName } = around.settings
  const { matches, paths } = compileMatch(rule.match, `${path}.match`)
  const targets = [rule.pool, rule.respond, rule.redirect].filter((target) => target !== undefined)
  if (targets.length !== 1) refuseRoute(path, "needs one of 'pool', 'respond' and 'redirect'", rule)
  if (rule.pool === undefined && rule.fallback !== undefined) refuseRoute(`${path}.fallback`, "has no place without 'pool'", rule.fallback)
  // What a rule says of its own goes before what its route says.
  const { rules: _rules, pool: _pool, limits: _limits, maintenance: _maintenance, ...inherited } = route
  const { match: _match, pool: _own, respond: _respond, redirect: _redirect, fallback: _fallback, splitOn: _splitOn, name: _name, ...own } = rule
  const options: ForwardOptions = { ...inherited, ...own }
  const replaced = own.rewritePrefix !== undefined && paths?.prefix !== undefined ? paths.prefix : prefix
  const settings = routeSettings(replaced, options, viaName, path, around.mirrors, paths)
  if (rule.respond !== undefined) return { matches, to: { pools: [], settings, answer: compileResponse(rule.respond, `${path}.respond`) } }
  if (rule.redirect !== undefined) return { matches, to: { pools: [], settings, answer: compileRedirect(rule.redirect, `${path}.redirect`, paths) } }
  const fallback = (rule.fallback ?? []).map((name, i) => poolOf(around, name, `${path}.fallback[${i}]`))
  if (typeof rule.pool === 'string') {
    if (rule.splitOn !== undefined) refuseRoute(`${path}.splitOn`, "has no place without shares in 'pool'", rule.splitOn)
    return { matches, to: { pools: [poolOf(around, rule.pool, `${path}.pool`), ...fallback], settings, answer: undefined } }
  }
  const shares = Object.entries(rule.pool as Record<string, number>)
  const name = rule.name ?? `${prefix}#${index}`
  if (!shares.some(([, share]) => share > 0)) refuseRoute(`${path}.pool`, 'needs a share above 0', rule.pool)
  const branches = shares.map(([pool, share]): [string, number, Destination] => {
    const first = poolOf(around, pool, `${path}.pool`)
    return [pool, share, { pools: [first, ...fallback.filter((other) => other !== first)], settings, answer: undefined }]
  })
  const { splitOn = 'client-address' } = rule
  const split = new Split(name, branches, splitOn === 'random' ? undefined : (request) => hashKeyOf(request, splitOn), around.random)
  around.splits(split, path)
  return { matches, to: split }
}
