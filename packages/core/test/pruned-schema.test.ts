import { Ajv } from 'ajv'
import fc from 'fast-check'
import t from 'tap'
import { checkOptions } from '../src/options.ts'
import { pruned } from '../src/pruned-schema.ts'

const KEYS = ['a', 'b', 'c']

/** Schemas of the kind that options have, over a few names so that values meet them. */
const { schema: schemas } = fc.letrec<{ schema: object; leaf: object }>((tie) => ({
  leaf: fc.constantFrom<object>({ type: 'string' }, { type: 'integer', minimum: 1 }, { type: ['string', 'object'] }, { const: false }, { type: 'string', enum: ['x', 'y'] }, {}),
  schema: fc.oneof({ depthSize: 'small', withCrossShrink: true }, tie('leaf'), fc.record({
    type: fc.constant('object'),
    additionalProperties: fc.oneof(fc.boolean(), tie('schema')),
    properties: fc.dictionary(fc.constantFrom(...KEYS), tie('schema'), { maxKeys: 3 }),
    required: fc.subarray(KEYS, { maxLength: 1 })
  }), fc.record({ type: fc.constant('array'), minItems: fc.nat(1), items: tie('schema') }), fc.record({ anyOf: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }) }))
}))

const values = fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: 'small', withCrossShrink: true }, fc.constantFrom('x', 'z', 0, 1, 1.5, false, null, undefined),
    fc.dictionary(fc.constantFrom(...KEYS, 'd'), tie('value'), { maxKeys: 3 }), fc.array(tie('value'), { maxLength: 2 }))
})).value

t.test('what is left of a schema lets the same values through as the whole', async (t) => {
  const seen = { valid: 0, invalid: 0 }
  fc.assert(fc.property(schemas, values, (schema, value) => {
    const ajv = new Ajv({ strict: false, validateSchema: false, meta: false })
    const wanted = ajv.validate(schema, value)
    seen[wanted ? 'valid' : 'invalid']++
    return ajv.validate(pruned(schema, [value]) as object, value) === wanted
  }), { numRuns: 500 })
  t.ok(seen.valid > 50 && seen.invalid > 50, JSON.stringify(seen))
})

t.test('properties that are not given, and branches that cannot be meant, are gone', async (t) => {
  const schema = { type: 'object', additionalProperties: false, properties: {
    a: { anyOf: [{ const: false }, { type: 'string' }, { type: 'object', properties: { b: {}, c: {} } }] }, d: { type: 'array', items: { properties: { b: {}, c: {} } } }, e: {}
  } }
  t.same(pruned(schema, [{ a: { b: 1 }, d: [{ c: 1 }, {}] }]), { type: 'object', additionalProperties: false, properties: {
    a: { anyOf: [{ const: false }, { type: 'object', properties: { b: {} } }] }, d: { type: 'array', items: { properties: { c: {} } } }
  } })
})

t.test('errors name all that is allowed, the first time and ever after', async (t) => {
  const schema = { type: 'object', additionalProperties: false, properties: { a: { type: 'string' }, b: { type: 'integer', minimum: 3 } } }
  for (let i = 0; i < 12; i++) {
    checkOptions(schema, { a: 'x', b: 3 }, 'options')
    t.throws(() => { checkOptions(schema, { c: 1 }, 'options') }, { message: 'options.c: unknown option; known are a, b; got 1' })
    t.throws(() => { checkOptions(schema, { b: 2 }, 'options') }, { message: 'options.b: must be >= 3; got 2' })
  }
})
