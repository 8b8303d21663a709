import type { Ballot, Vote, VoteStore } from '@headgate/health'
import { checkOptions } from '@headgate/core'
import type { Connection } from './connection.ts'

export interface VotesOptions {
  /**
   * Processes of one name count as one voice, 1–200 characters: give the workers of one machine, which see the world through one network, the
   * machine's name. @default each process has its own
   */
  readonly instance?: string
}

/** Of {@link VotesOptions}. */
export const votesSchema: { readonly type: 'object'; readonly [keyword: string]: unknown } = {
  type: 'object',
  additionalProperties: false,
  properties: { instance: { type: 'string', minLength: 1, maxLength: 200 } } satisfies Record<keyof VotesOptions, object>
}

/** Milliseconds that an exchange may take: nobody's request waits for it. */
const PATIENCE = 1000

/**
 * KEYS: hash of ballots. ARGV: name of the process, its ballot, milliseconds that it holds. Gives the ballots that hold, and forgets the others.
 * Redis' own clock decides on that: those of the machines may differ.
 */
const EXCHANGE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now + ARGV[3]) .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local all = redis.call('HGETALL', KEYS[1])
local live = {}
for i = 1, #all, 2 do
  local at = string.find(all[i + 1], ' ', 1, true)
  if at and (tonumber(string.sub(all[i + 1], 1, at)) or 0) > now then live[#live + 1] = string.sub(all[i + 1], at + 1)
  else redis.call('HDEL', KEYS[1], all[i]) end
end
return live`

/** Votes on ejections in Redis: what each process says is one text, which ends with its lease when it is not renewed. */
export class RedisVotes implements VoteStore {
  readonly #connection: Connection
  readonly #key: string
  readonly #id: string
  readonly #instance: string
  readonly #lease: number
  #told = false

  /** Made by `RedisState.votes`. Throws `HG_POOL_INVALID_OPTION`. */
  constructor (connection: Connection, prefix: string, id: string, lease: number, options: VotesOptions) {
    checkOptions(votesSchema, options, 'votes')
    this.#connection = connection
    this.#key = `${prefix}:q1`
    this.#id = id
    this.#instance = options.instance ?? id
    this.#lease = lease
  }

  /** Rejects with `HG_REDIS_AWAY`, or with the refusal of a Redis that is full. */
  async exchange (votes: readonly Vote[]): Promise<readonly Ballot[]> {
    const own = JSON.stringify({ instance: this.#instance, votes } satisfies Ballot)
    const answer = await this.#connection.ask((client) => client.eval(EXCHANGE, 1, this.#key, this.#id, own, this.#lease), PATIENCE) as string[]
    this.#told = true
    return answer.map(parse).filter((ballot) => ballot !== undefined)
  }

  /** This process has no say any more. */
  async close (): Promise<void> {
    if (!this.#told || this.#connection.away) return
    // It ends by itself where nobody can be told.
    await this.#connection.ask((client) => client.hdel(this.#key, this.#id)).catch(() => {})
  }
}

/** What is no ballot, of a later version perhaps, is not one. */
function parse (text: string): Ballot | undefined {
  try {
    const { instance, votes } = JSON.parse(text) as Partial<Ballot>
    if (typeof instance !== 'string' || !Array.isArray(votes)) return undefined
    return { instance, votes: (votes as readonly unknown[]).filter(isVote) }
  } catch {
    return undefined
  }
}

function isVote (given: unknown): given is Vote {
  if (typeof given !== 'object' || given === null) return false
  const { pool, upstream, id, reason, checksLift } = given as Partial<Vote>
  return typeof pool === 'string' && typeof upstream === 'string' && typeof id === 'string' && typeof reason === 'string' && typeof checksLift === 'boolean'
}
