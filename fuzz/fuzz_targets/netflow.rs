//! NetFlow and IPFIX: datagrams, each behind two bytes with its length, are read one after the
//! other, with the templates of those before. No panic, and no record or value outside of its set.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tidewall_wire::netflow::{Datagram, Plan, TemplateRecord, parse};

fuzz_target!(|data: &[u8]| {
    let (mut rest, mut plans) = (data, BTreeMap::new());
    while let Some((&[high, low], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (datagram, next) = behind.split_at(length);
        rest = next;
        let sets = match parse(datagram) {
            Ok(Datagram::V9(packet)) => packet.sets(),
            Ok(Datagram::Ipfix(message)) => message.sets(),
            Ok(Datagram::V5(packet)) => {
                assert_eq!(
                    packet.records().count() + usize::from(packet.missing()),
                    packet.header.count.into()
                );
                continue;
            }
            Err(_) => continue,
        };
        for set in sets.flatten() {
            for template in set.templates().flatten() {
                match template {
                    TemplateRecord::Definition(template) => {
                        plans.insert(template.id(), Plan::new(&template));
                    }
                    TemplateRecord::Withdrawal(id) => {
                        plans.remove(&id);
                    }
                    TemplateRecord::WithdrawalOfAll(kind) => {
                        plans.retain(|_, plan: &mut Plan| plan.kind() != kind);
                    }
                }
            }
            let Some(plan) = plans.get(&set.id) else { continue };
            let mut taken = 0;
            for record in set.records(plan).flatten() {
                taken += record.bytes().len();
                assert_eq!(record.fields().count(), plan.elements().count());
                assert!(record.fields().all(|field| field.value.len() <= record.bytes().len()));
            }
            assert!(taken <= set.body.len());
        }
    }
});
