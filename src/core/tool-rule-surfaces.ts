/** Surfaces of what rules over tools: pins of their definitions, policies of teams, approvals by humans. */
import { deleteAdmin, internal, readAdmin, rightKeys, type Surface, writeAdmin } from './surface-kinds.ts';

const approvalKeys = ['event_type', 'approval_id', 'server_id', 'tool_name', 'request_hash'] as const;

const pinKeys = ['event_type', 'server_id', 'tool_name', 'definition_hash', 'pinned_hash'] as const;

const deletePins = (template: string): Surface => ({
  ...writeAdmin(template, 'admin.mcp.write', pinKeys),
  method: 'DELETE',
});
const decideApproval = (template: string): Surface =>
  writeAdmin(template, 'admin.approvals.write', [...approvalKeys, 'approval_principal']);

export const toolRuleSurfaces = {
  'admin.mcp.pins.list': readAdmin('/admin/v1/mcp/pins', 'admin.mcp.read'),
  'admin.mcp.pins.get': readAdmin('/admin/v1/mcp/pins/{server_id}/{tool_name}', 'admin.mcp.read'),
  'admin.mcp.pins.approve': writeAdmin(
    '/admin/v1/mcp/pins/{server_id}/{tool_name}/approve',
    'admin.mcp.write',
    pinKeys,
  ),
  'admin.mcp.pins.reject': writeAdmin('/admin/v1/mcp/pins/{server_id}/{tool_name}/reject', 'admin.mcp.write', pinKeys),
  'admin.mcp.pins.forget': deletePins('/admin/v1/mcp/pins/{server_id}/{tool_name}'),
  'admin.mcp.pins.forget.all': deletePins('/admin/v1/mcp/pins/{server_id}'),
  'admin.mcp.policies.list': readAdmin('/admin/v1/mcp/policies', 'admin.mcp.read'),
  'admin.mcp.policies.get': readAdmin('/admin/v1/mcp/policies/{policy_id}', 'admin.mcp.read'),
  'admin.mcp.policies.add': writeAdmin('/admin/v1/mcp/policies', 'admin.mcp.write'),
  'admin.mcp.policies.change': {
    ...writeAdmin('/admin/v1/mcp/policies/{policy_id}', 'admin.mcp.write'),
    method: 'PATCH',
  },
  'admin.mcp.policies.remove': deleteAdmin('/admin/v1/mcp/policies/{policy_id}', 'admin.mcp.write'),
  'admin.mcp.approvals.list': readAdmin('/admin/v1/mcp/approvals', 'admin.approvals.read'),
  'admin.mcp.approvals.get': readAdmin('/admin/v1/mcp/approvals/{approval_id}', 'admin.approvals.read'),
  'admin.mcp.approvals.approve': decideApproval('/admin/v1/mcp/approvals/{approval_id}/approve'),
  'admin.mcp.approvals.deny': decideApproval('/admin/v1/mcp/approvals/{approval_id}/deny'),
  'mcp.approvals.ask': internal('mcp.approvals.ask', [...approvalKeys, 'phase', 'definition_hash', ...rightKeys]),
  'mcp.pins.pin': internal('mcp.pins.pin', ['event_type', 'phase', 'server_id', 'pinned_count']),
  'mcp.pins.hold': internal('mcp.pins.hold', [...pinKeys, 'phase']),
  'mcp.pins.release': internal('mcp.pins.release', [...pinKeys, 'phase']),
  'mcp.pins.take': internal('mcp.pins.take', [...pinKeys, 'phase']),
} as const satisfies Record<string, Surface>;
