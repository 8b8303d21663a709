import { Gauge, type MetricObjectWithValues, type MetricType, type MetricValue } from 'prom-client'

/** One line of the exposition: labels and a number; `suffix` for the lines of a histogram. */
export interface Sample {
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
  readonly suffix?: '_bucket' | '_sum' | '_count'
}

export interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  samples (): Iterable<Sample>
}

/**
 * A prom-client metric whose values are read from the records when it is scraped. So a request costs a few additions instead of a
 * hashed label set for each metric, and what left the records has left the exposition.
 */
export class View extends Gauge {
  // Not #private: prom-client's registry is given objects that inherit from this one.
  readonly family: Family

  constructor (family: Family) {
    super({ name: family.name, help: family.help, registers: [] })
    this.family = family
    // The registry looks at it to give counters their names in OpenMetrics.
    ;(this as unknown as { type: string }).type = family.type
  }

  override async get (): Promise<MetricObjectWithValues<MetricValue<string>>> {
    const { name, family } = this as unknown as { name: string; family: Family }
    const values = []
    for (const { labels, value, suffix } of family.samples()) {
      values.push({ labels, value, ...suffix !== undefined && { metricName: name + suffix } })
    }
    return { collect: () => {}, name, help: family.help, type: family.type as unknown as MetricType, aggregator: 'sum', values }
  }
}
