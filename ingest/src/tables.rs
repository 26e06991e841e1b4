//! Tables as the log describes them, with their groups and schema ids.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lockstep_process::config::KafkaConfig;
use lockstep_schemas::column::ColumnType;
use lockstep_schemas::envelope::{RecordTable, TableColumn};
use lockstep_schemas::partition::murmur2;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::registry::{Registry, SchemaRecord};
use lockstep_schemas::scores;
use lockstep_schemas::sole_writer::SoleWriter;
use lockstep_schemas::table_name::full_name;
use lockstep_schemas::topics;
use lockstep_source::{Database, DatabaseError, catalog, preflight};

use crate::pgoutput::Relation;
use crate::transport::APPLICATION;

/// The first part of every record's name.
pub(crate) const SERVER: &str = "lockstep";

/// A group as ingest needs it.
pub(crate) struct IngestGroup {
    pub name: Arc<str>,
    pub topic: Arc<str>,
    pub entity_key: String,
    tables: Vec<String>,
}

/// A table that is published.
pub(crate) struct PublishedTable {
    pub record: RecordTable,
    /// Index of its group.
    pub group: usize,
    /// Index of the entity key among the columns.
    pub entity_at: usize,
    /// Of each column, whether its values stay here: it is called like a secret, and nobody has allowed it.
    pub withheld: Vec<bool>,
    pub key_schema: u32,
    pub value_schema: u32,
    /// Whether an old row that the log calls whole is so in every partition.
    pub whole_old: bool,
    shape: Relation,
    storage: String,
}

/// Every table seen in the log so far.
pub(crate) struct Tables {
    pub groups: Vec<IngestGroup>,
    by_relation: HashMap<u32, PublishedTable>,
    /// Tables whose rows can't be told apart by entity: name and index of the group.
    without_entity: HashMap<u32, (String, usize)>,
    policy: Policy,
    registry: Registry,
    /// Of each table, what was last announced.
    announced: BTreeMap<String, u32>,
    slot: String,
    /// The server's process that streams to us; whoever else holds the slot gives out the ids.
    backend: Option<i32>,
}

/// A table that is not as it was when it was last announced: its envelopes have another schema, or its rows were written
/// anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// `schema.table`.
    pub table: String,
    /// Index of its group.
    pub group: usize,
    /// A digest of its schema's id and its storage, for the checkpoint.
    pub digest: u32,
    /// Whether another one was announced before: then entries made of what it was must go.
    pub changed: bool,
}

impl Tables {
    pub fn new(
        kafka: &KafkaConfig,
        policy: &Policy,
        registry: Registry,
        announced: BTreeMap<String, u32>,
        slot: &str,
    ) -> Self {
        let groups = policy.groups.values().map(|group| IngestGroup {
            name: group.name.clone(),
            topic: topics::of_group(kafka, &group.name).into(),
            entity_key: group.entity_key.to_string(),
            tables: group.tables.iter().map(|table| table.to_string()).collect(),
        });
        Tables {
            groups: groups.collect(),
            by_relation: HashMap::new(),
            without_entity: HashMap::new(),
            policy: policy.clone(),
            registry,
            announced,
            slot: slot.to_owned(),
            backend: None,
        }
    }

    /// Whether a message with this prefix is for us.
    pub fn is_meant_by(&self, prefix: &str) -> bool {
        prefix == self.slot
    }

    /// From now on the slot is ours, by this process of the server.
    pub fn held_by(&mut self, backend: i32) {
        self.backend = Some(backend);
    }

    /// The table of a relation; `None` where no group has it.
    pub fn get(&self, relation: u32) -> Option<&PublishedTable> {
        self.by_relation.get(&relation)
    }

    /// Name and group of a table that has lost its entity key.
    pub fn without_entity(&self, relation: u32) -> Option<(String, usize)> {
        self.without_entity.get(&relation).cloned()
    }

    /// Name and group of a relation.
    pub fn place(&self, relation: u32) -> Option<(String, usize)> {
        let known = self.get(relation).map(|table| (table.record.full_name(), table.group));
        known.or_else(|| self.without_entity(relation))
    }

    /// Takes a description in. Its schemas have ids, acknowledged by Kafka, before any row can use them. The answer is to
    /// be announced at the end of the transaction.
    pub async fn learn(
        &mut self,
        shape: Relation,
        database: &Database,
        schemas: &SoleWriter,
    ) -> Result<Option<Announcement>, TableError> {
        let full_name = full_name(&shape.schema, &shape.name);
        let Some(group) = self.groups.iter().position(|group| group.tables.contains(&full_name)) else {
            return Ok(None);
        };
        // The log describes a table again when anything about it has changed, also what the description does not show.
        // What we see is newer than that, or as new: an event too many, but none too few.
        let names: Vec<&str> = shape.columns.iter().map(|column| column.name.as_str()).collect();
        let storage = catalog::storage(database, shape.id, &names).await?;
        let before = self.by_relation.values_mut().find(|table| table.record.full_name() == full_name);
        if let Some(table) = before.filter(|table| table.shape == shape && table.storage == storage.mark)
            && !storage.is_held
        {
            table.whole_old = storage.is_full;
            return Ok(None);
        }
        let columns = columns(&shape, &full_name, database).await?;
        let entity_key = &self.groups[group].entity_key;
        let Some(entity_at) = columns.iter().position(|column| column.name == *entity_key) else {
            return Ok(self.lose(shape.id, full_name, group, &storage.mark));
        };
        let withheld: Vec<bool> =
            columns.iter().map(|column| !preflight::may_publish(&self.policy, &full_name, &column.name)).collect();
        for (column, _) in columns.iter().zip(&withheld).filter(|(_, withheld)| **withheld) {
            tracing::error!(
                table = %full_name, column = %column.name,
                "the column is called like a secret, and is published without its values: take it out of the publication, \
                 or allow it in the policy"
            );
        }
        let record = RecordTable::new(SERVER, &shape.schema, &shape.name, columns);
        let (key_subject, value_subject) = record.subjects();
        let key_schema = self.schema_id(&key_subject, &record.key_schema, database, schemas).await?;
        let value_schema = self.schema_id(&value_subject, &record.value_schema, database, schemas).await?;
        self.by_relation.retain(|_, table| table.record.full_name() != full_name);
        let relation = shape.id;
        let digest = murmur2(format!("{value_schema} {}", storage.mark).as_bytes());
        let (whole_old, storage, is_held) = (storage.is_full, storage.mark, storage.is_held);
        let table =
            PublishedTable { record, group, entity_at, withheld, key_schema, value_schema, whole_old, shape, storage };
        self.without_entity.remove(&relation);
        self.by_relation.insert(relation, table);
        let before = self.announced.insert(full_name.clone(), digest);
        // Whoever holds the table alone may be the transaction that is being read: what it did is not to be seen yet.
        let changed = before.is_some_and(|before| before != digest || is_held);
        let news = changed || before.is_none();
        Ok(news.then_some(Announcement { table: full_name, group, digest, changed }))
    }

    /// A table of which no row tells its entity: from now on each transaction that changes it drops the group's entries.
    fn lose(&mut self, relation: u32, full_name: String, group: usize, storage: &str) -> Option<Announcement> {
        tracing::error!(
            table = %full_name, entity_key = %self.groups[group].entity_key,
            "the table has no column by the name of its group's entity key: what changes there drops all entries of the \
             group; rename the column back, or change the policy"
        );
        self.by_relation.retain(|_, table| table.record.full_name() != full_name);
        self.without_entity.retain(|_, (name, _)| *name != full_name);
        self.without_entity.insert(relation, (full_name.clone(), group));
        let digest = murmur2(format!("no entity key {storage}").as_bytes());
        let before = self.announced.insert(full_name.clone(), digest);
        let changed = before.is_some_and(|before| before != digest);
        (changed || before.is_none()).then_some(Announcement { table: full_name, group, digest, changed })
    }

    /// Registers the schemas of records that others write: only ingest gives ids out.
    pub async fn register_fixed(&mut self, database: &Database, schemas: &SoleWriter) -> Result<(), TableError> {
        self.schema_id(scores::SUBJECT, scores::SCHEMA, database, schemas).await.map(drop)
    }

    /// The schema's id.
    async fn schema_id(
        &mut self,
        subject: &str,
        schema: &str,
        database: &Database,
        schemas: &SoleWriter,
    ) -> Result<u32, TableError> {
        match self.registry.id_or_new(subject, schema) {
            Ok(id) => Ok(id),
            Err(record) => {
                self.insist_on_slot(database).await?;
                self.register(&record, schemas).await?;
                Ok(record.id)
            }
        }
    }

    /// One that was asleep may have lost the slot, and its ids with it. (If it loses it only now, Kafka refuses its record.)
    async fn insist_on_slot(&self, database: &Database) -> Result<(), TableError> {
        let holder = preflight::holder(database, &self.slot, APPLICATION).await?;
        match holder.map(|holder| holder.pid) == self.backend {
            true => Ok(()),
            false => Err(TableError::SlotLost),
        }
    }

    async fn register(&mut self, record: &SchemaRecord, schemas: &SoleWriter) -> Result<(), TableError> {
        let (key, value) = record.to_record();
        schemas.write(topics::SCHEMAS, &[(&key, Some(&value))]).await?;
        tracing::info!(subject = %record.subject, version = record.version, id = record.id, "schema registered");
        self.registry.insert(Some(&value));
        Ok(())
    }
}

/// Under REPLICA IDENTITY FULL every column counts as identity; there the primary key is the record's key.
async fn columns(shape: &Relation, full_name: &str, database: &Database) -> Result<Vec<TableColumn>, TableError> {
    let primary = match shape.identity {
        b'f' => Some(catalog::primary_key(database, full_name).await?),
        _ => None,
    };
    let column = |column: &crate::pgoutput::RelationColumn| TableColumn {
        name: column.name.clone(),
        kind: ColumnType::from_oid(column.type_oid, column.type_modifier),
        identity: primary.as_ref().map_or(column.in_identity, |primary| primary.contains(&column.name)),
    };
    Ok(shape.columns.iter().map(column).collect())
}

/// A table that can't be published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("the slot is no longer ours")]
    SlotLost,
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("publishing a schema: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
}
