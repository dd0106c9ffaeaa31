// What Grafana 11.6 says a dashboard is, as it stands in JSON: its enums written as their values,
// and options that may be left out where Grafana has a default.
import type { Dashboard, FieldConfigSource, Panel, RowPanel } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Value<T> = T extends string
  ? `${T}`
  : T extends number
    ? `${T}` extends `${infer N extends number}` ? N : T
    : T;
type Plain<T> = T extends string | number | boolean | null | undefined
  ? Value<T>
  : T extends Array<infer E>
    ? Plain<E>[]
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : T;
type Partly<T> = T extends string | number | boolean | null | undefined
  ? Value<T>
  : T extends Array<infer E>
    ? Partly<E>[]
    : T extends object
      ? { [K in keyof T]?: Partly<T[K]> }
      : T;

type Defaults<Custom> = Plain<Omit<FieldConfigSource['defaults'], 'custom'>> & { custom?: Partly<Custom> };
type Of<Type extends string, Options, Custom> = Plain<Omit<Panel, 'type' | 'options' | 'fieldConfig'>> & {
  type: Type;
  options: Partly<Options>;
  fieldConfig?: Plain<Omit<FieldConfigSource, 'defaults'>> & { defaults: Defaults<Custom> };
};

export type AnyPanel =
  | Of<'stat', stat.Options, Record<string, never>>
  | Of<'bargauge', bargauge.Options, Record<string, never>>
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Of<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Of<'table', table.Options, table.FieldConfig>
  | (Plain<Omit<RowPanel, 'type'>> & { type: 'row' });

// What Prometheus' annotations know beside that, which no type of the package names.
type Annotation = Plain<Omit<NonNullable<NonNullable<Dashboard['annotations']>['list']>[number], 'target'>> & {
  expr: string;
  titleFormat: string;
  tagKeys: string;
};

export type AnyDashboard = Plain<Omit<Dashboard, 'panels' | 'annotations'>> & {
  panels: AnyPanel[];
  annotations: { list: Annotation[] };
};
